# SPDX-License-Identifier: Apache-2.0
"""Atomic writing of files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

_numbers = count()
"""A number per writing: several threads may write the same file."""


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Context manager that yields a sibling of `path` to write to. The sibling replaces `path` when
    the block ends, and is removed if the block raises. `path` is never incomplete, even after a
    power cut. Raises OSError naming `path`, not its sibling."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{next(_numbers)}.{os.getpid()}.partial")
    try:
        yield partial
        if partial.is_file():
            _sync(partial)
        partial.replace(target)
        _sync(target.parent)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        with suppress(OSError):  # it may not exist
            partial.unlink()


def _sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
