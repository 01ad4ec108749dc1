# SPDX-License-Identifier: Apache-2.0
"""Curves for TensorBoard."""

from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter


class Curves:
    """Scalars by step in `directory`; nothing at all without one."""

    def __init__(self, directory: Path | None, first_step: int) -> None:
        """first_step: what a killed run wrote from there on is forgotten."""
        self._writer = None
        if directory is not None:
            self._writer = SummaryWriter(str(directory), purge_step=first_step)

    def add(self, group: str, scalars: dict[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def __enter__(self) -> "Curves":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
