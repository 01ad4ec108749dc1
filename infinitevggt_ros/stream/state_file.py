# SPDX-License-Identifier: Apache-2.0
"""State of a stream on disk: written periodically, whole or not at all."""

import os
import time
from contextlib import suppress
from glob import escape
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from infinitevggt_core.io.atomic_file import whole_file

FORMAT = "infinitevggt stream 1"


def read_state(path: Path) -> dict[str, Any]:
    """Return a state that `write_state` wrote. Raises OSError or ValueError naming the file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises whatever unpickling raises, with advice of its own
        raise ValueError(f"{path} is not the state of a stream") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is not the state of a stream")
    return state


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all. Raises OSError."""
    with whole_file(path) as partial, partial.open("wb") as file:
        try:
            torch.save({"format": FORMAT, **state}, file)
        except RuntimeError as error:  # torch's own, over that of a full disk
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def remove_partials(path: Path) -> None:
    """Remove what killed writers of this file left; others may be writing it now."""
    for partial in path.parent.glob(f".{escape(path.name)}.*.partial"):
        with suppress(OSError, ValueError):
            if not _is_running(int(partial.name.split(".")[-2])):
                partial.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


class PeriodicState:
    """Writes states in a thread of its own, because a disk is slower than a camera."""

    def __init__(self, path: Path, period_s: float) -> None:
        self.path = path
        self.error = ""
        """Reason why the last write failed; empty if it succeeded."""
        self._period_s = period_s
        self._started_s = time.monotonic()
        self._thread: Thread | None = None

    @property
    def is_due(self) -> bool:
        """True if the period has passed and the last write has ended."""
        is_writing = self._thread is not None and self._thread.is_alive()
        return not is_writing and time.monotonic() - self._started_s >= self._period_s

    def write(self, state: dict[str, Any]) -> None:
        """Write a state after the current one. Returns at once; the state must not change."""
        self._started_s = time.monotonic()
        arguments = state, self._thread
        self._thread = Thread(target=self._write, args=arguments, name="state", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, state: dict[str, Any], before: Thread | None) -> None:
        if before is not None:
            before.join()
        try:
            write_state(self.path, state)
            self.error = ""
        except OSError as error:
            self.error = str(error)
