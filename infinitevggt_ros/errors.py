# SPDX-License-Identifier: Apache-2.0
"""Errors that a command reports in one line, without a traceback."""


class CommandError(Exception):
    """A mistake the user can mend: the message names the thing and the fix."""
