# SPDX-License-Identifier: Apache-2.0
"""Exported graphs in the user's cache folder."""

import hashlib
import os
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch

from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.model.onnx_graph import VERSION, GraphSizes, export
from infinitevggt_core.model.vggt import VGGT

CACHE_BYTES = 512 * 2**20
"""Largest size of all graphs together; the one used last stays, whatever its size."""
EXAMPLE_SLOTS = 64
"""Slots of the inputs with which a graph is traced; it takes any number."""
ABANDONED_S = 3600
"""Age of a file that nobody is writing any more."""


def cached_graph(model: VGGT, size: tuple[int, int]) -> Path:
    """Return the file of the graph of a network for images of a size, there or not."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    versions = torch.__version__, version("onnxruntime"), version("onnxscript")
    digest = hashlib.sha256(f"{VERSION} {model.config} {size} {versions}".encode())
    for name, weight in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return root / "infinitevggt" / f"{digest.hexdigest()[:32]}.onnx"


def export_to_cache(model: VGGT, size: tuple[int, int], path: Path) -> None:
    """Write the graph for images of a size, whole or not at all, and remove those used longest ago
    beyond CACHE_BYTES. Raises OSError, and what PyTorch raises if it cannot export."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        export(model, GraphSizes(EXAMPLE_SLOTS, EXAMPLE_SLOTS, *size), partial)
    remove_old(path.parent)


def mark_used(path: Path) -> None:
    """Let a graph be removed after those used before."""
    with suppress(OSError):  # a cache that is only readable keeps its order
        os.utime(path)


def remove_old(folder: Path) -> None:
    """Remove the graphs used longest ago beyond CACHE_BYTES, and what killed writers left. Other
    processes may do the same."""
    total = 0
    graphs = _newest_first(folder, "*.onnx")
    for index, (_, size, path) in enumerate(graphs):
        total += size
        if index and total > CACHE_BYTES:
            _remove(path)
    for used_s, _, path in _newest_first(folder, ".*.partial"):
        if used_s < time.time() - ABANDONED_S:
            _remove(path)


def _newest_first(folder: Path, pattern: str) -> list[tuple[float, int, Path]]:
    """Return time, size and path of files."""
    found = []
    for path in folder.glob(pattern):
        with suppress(OSError):  # removed meanwhile
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    return sorted(found, reverse=True)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
