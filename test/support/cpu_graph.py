# SPDX-License-Identifier: Apache-2.0
"""A graph on the CPU: operations with the places of their tensors, as a CUDA graph holds them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TO_THE_HOST = "aten::_local_scalar_dense"


class Graph(TorchDispatchMode):
    """Records operations. They must run for that; then what they wrote is restored, so that nothing
    has happened, and `replay` runs them on the same tensors."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []
        self._own: set[int] = set()
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._schema.name == TO_THE_HOST:
            raise RuntimeError("a graph cannot wait for the device")
        inputs = {place(x) for x in tensors((args, kwargs))}
        if func._schema.is_mutable:
            for tensor in tensors((args, kwargs)):  # more than are written, which does no harm
                self._keep(tensor)
        result = func(*args, **kwargs)
        new = [x for x in tensors(result) if place(x) not in inputs]
        self._own.update(place(x) for x in new)
        if new or func._schema.is_mutable:  # a view stays where it is
            self._steps.append((func, args, kwargs, result if new else None))
        return result

    def _keep(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if place(tensor) not in self._own and place(tensor) not in self._before:
            self._before[place(tensor)] = storage, storage.clone()

    def restore(self) -> None:
        """Undo what was written while it was recorded."""
        for storage, before in self._before.values():
            storage.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self._steps:
            found = func(*args, **kwargs)
            if result is not None:
                for target, source in zip(tensors(result), tensors(found), strict=True):
                    target.copy_(source)


def record_on_cpu(work: Callable[[], None]) -> Callable[[], None]:
    graph = Graph()
    try:
        with graph:
            work()
    finally:
        graph.restore()
    return graph.replay


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
