# SPDX-License-Identifier: Apache-2.0
"""Export of a graph to the cache by a process of its own, beside a stream.

Example: python -m infinitevggt_core.streaming.graph_export PARENT_PID WEIGHTS HEIGHT WIDTH GRAPH
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from infinitevggt_core.io.parent import end_with
from infinitevggt_core.model.checkpoint import load_checkpoint, save_checkpoint
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming.graph_cache import export_to_cache

NICENESS = 5
"""Least niceness of the process: it gives way to the stream."""


class GraphExport:
    """Process that exports one graph on one thread, with low priority. It ends with this one."""

    def __init__(self, model: VGGT, size: tuple[int, int], path: Path) -> None:
        """Start the process. Raises OSError."""
        self._folder = tempfile.TemporaryDirectory(prefix="infinitevggt_")
        weights = Path(self._folder.name, "weights.safetensors")
        save_checkpoint(model, weights)
        given = (str(os.getpid()), str(weights), *map(str, size), str(path))
        places = os.pathsep.join(place for place in sys.path if place)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, *given],
            env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._said: str | None = None

    @property
    def is_running(self) -> bool:
        """True until the process has ended."""
        return self._process.poll() is None

    def wait(self) -> str:
        """Wait for the end of the process. Return the reason why it failed, empty if it did not."""
        if self._said is None:
            self._said, _ = self._process.communicate()
            self._folder.cleanup()
        if not self._process.returncode:
            return ""
        return (self._said.splitlines() or [f"exit status {self._process.returncode}"])[-1]


def main() -> None:
    parent, weights, height, width, path = sys.argv[1:]
    end_with(int(parent))
    os.nice(max(0, NICENESS - os.nice(0)))
    try:
        model = load_checkpoint(weights)
        Path(weights).unlink()  # nobody else would, if the parent is killed
        export_to_cache(model, (int(height), int(width)), Path(path))
    except Exception as error:  # PyTorch's exporter has many kinds
        print(f"{type(error).__name__}: {error}".partition("\n")[0])
        sys.exit(1)


if __name__ == "__main__":
    main()
