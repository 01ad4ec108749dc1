# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can act on, and the type of the node's warnings."""

from typing import Protocol


class CommandError(Exception):
    """A mistake that the user can correct; the message names the cause and the correction.

    A command reports it in one line, without a traceback.
    """


class Warn(Protocol):
    """Logs a warning. Warnings of one kind are throttled together."""

    def __call__(self, kind: str, text: str) -> None: ...
