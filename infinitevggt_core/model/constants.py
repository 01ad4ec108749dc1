# SPDX-License-Identifier: Apache-2.0
"""Cache of tensors that depend on sizes, device and precision alone."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch
from torch._subclasses.fake_tensor import FakeTensor

P = ParamSpec("P")
T = TypeVar("T")


class CachedConstants(Generic[P, T]):
    """Function whose latest results are kept, except while PyTorch traces or exports: its tensors
    have no numbers then, and would break the next frame."""

    def __init__(self, function: Callable[P, T], most: int) -> None:
        self._function, self._most = function, most
        self._results: OrderedDict[object, T] = OrderedDict()
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **options: P.kwargs) -> T:
        key = (args, tuple(options.items()))
        if key in self._results:
            return self._results[key]
        result = self._function(*args, **options)
        if not is_tracing():
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


def is_tracing() -> bool:
    """Return True while new tensors have shapes but no numbers."""
    return torch.compiler.is_compiling() or isinstance(torch.empty(0), FakeTensor)
