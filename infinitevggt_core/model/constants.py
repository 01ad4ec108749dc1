# SPDX-License-Identifier: Apache-2.0
"""Cache of tensors that depend on sizes, device and precision alone."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, ParamSpec, TypeVar

import torch
from torch._subclasses.fake_tensor import FakeTensor

P = ParamSpec("P")
T = TypeVar("T")

_holder: ContextVar[list[object] | None] = ContextVar("holder", default=None)


class CachedConstants(Generic[P, T]):
    """Function whose latest results are kept, except while PyTorch traces or exports: its tensors
    have no numbers then, and would break the next frame."""

    def __init__(self, function: Callable[P, T], most: int) -> None:
        self._function, self._most = function, most
        self._results: OrderedDict[object, T] = OrderedDict()
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **options: P.kwargs) -> T:
        key = (args, tuple(options.items()))
        holder = _holder.get()
        if key in self._results:
            result = self._results[key]
            if holder is not None:
                holder.append(result)
            return result
        result = self._function(*args, **options)
        if holder is None and not is_tracing():
            self._results[key] = result
            if len(self._results) > self._most:
                self._results.popitem(last=False)
        return result

    def cache_clear(self) -> None:
        """Discard all results."""
        self._results.clear()


def cached_constants(most: int) -> Callable[[Callable[P, T]], CachedConstants[P, T]]:
    """Keep the latest `most` results of a function of hashable arguments."""
    return lambda function: CachedConstants(function, most)


@contextmanager
def held_constants() -> Iterator[list[object]]:
    """Context manager that yields a list of the constants read in it, for a recording that reads
    them again later. New ones are not kept for others: a recording has not computed them yet."""
    held: list[object] = []
    before = _holder.set(held)
    try:
        yield held
    finally:
        _holder.reset(before)


def is_tracing() -> bool:
    """Return True while new tensors have shapes but no numbers."""
    return torch.compiler.is_compiling() or isinstance(torch.empty(0), FakeTensor)
