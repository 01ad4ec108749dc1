# SPDX-License-Identifier: Apache-2.0
"""From a frame's result to messages and transforms."""
