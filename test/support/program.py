# SPDX-License-Identifier: Apache-2.0
"""Operations of a piece of code, to tell whether two runs of it are the same program."""

import sys
from types import FrameType
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PACKAGE = "/infinitevggt_core/"


class Program(TorchDispatchMode):
    """Records each operation with the shapes, strides and offsets of its tensors and with the
    numbers that come from the host: what a CUDA graph would freeze."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[str, str, tuple[Any, ...]]] = []
        """Line of code, operation, arguments."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if _function() == "begin_frame":
            return func(*args, **(kwargs or {}))
        arguments = tuple(map(_described, tree_leaves((args, kwargs or {}))))
        self.steps.append((_line(), str(func), arguments))
        return func(*args, **(kwargs or {}))


def differences(one: Program, other: Program) -> list[str]:
    """Operations of `other` that `one` has not, at most ten; setting the frame number, before a
    frame, is none of them."""
    if len(one.steps) != len(other.steps):
        return [f"{len(one.steps)} and {len(other.steps)} operations"]
    pairs = zip(one.steps, other.steps, strict=True)
    return [f"{a} is now {b}" for a, b in pairs if a != b][:10]


def _described(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return tuple(argument.shape), argument.stride(), argument.storage_offset(), argument.dtype
    return str(argument)


def _caller() -> FrameType | None:
    """Return the innermost frame of the package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and PACKAGE not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame


def _function() -> str:
    frame = _caller()
    return "" if frame is None else frame.f_code.co_name


def _line() -> str:
    frame = _caller()
    if frame is None:
        return "?"
    return f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"
