# SPDX-License-Identifier: Apache-2.0
"""Several memories in one forward of the network."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.prediction import Prediction


class SideBySide:
    """Memories of several sessions as one: each sees its own part of the batch."""

    def __init__(self, memories: Sequence[StreamMemory]) -> None:
        self._memories = memories
        self._streams = [len(memory.streams) for memory in memories]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self._each(lambda memory, *own: memory.attend(layer, *own), q, k, v)

    def attend_camera(self, iteration: int, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self._each(
            lambda memory, *own: memory.attend_camera(iteration, block, *own), q, k, v
        )

    @property
    def watches_updates(self) -> bool:
        return any(memory.watches_updates for memory in self._memories)

    def observe(self, layer: int, updates: Tensor) -> None:
        for memory, own in zip(self._memories, torch.split(updates, self._streams), strict=True):
            if memory.watches_updates:
                memory.observe(layer, own)

    def split(self, prediction: Prediction) -> list[Prediction]:
        """Each session's part."""
        values = [getattr(prediction, name) for name in Prediction.__slots__]
        parts = [
            [None] * len(self._streams) if value is None else torch.split(value, self._streams)
            for value in values
        ]
        return [Prediction(*own) for own in zip(*parts, strict=True)]

    def _each(self, attend: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        parts = zip(*(torch.split(tensor, self._streams) for tensor in tensors), strict=True)
        return torch.cat(
            [attend(memory, *own) for memory, own in zip(self._memories, parts, strict=True)]
        )
