# SPDX-License-Identifier: Apache-2.0
"""Controls of the page for settings of the memory."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Control:
    """A drop-down list if there are choices, else a slider."""

    hint: str = ""
    choices: tuple[str, ...] = ()
    lowest: int = 1
    """Smallest value of a slider."""
