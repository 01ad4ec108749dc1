"""Keys and values of past tokens, for every layer of one memory, in one preallocated arena.

The layers lie one after another in the arena, each with free slots behind it:

    | layer 0 tokens | free | layer 1 tokens | free | ...

Attention does not care about the order of keys, and everything here is built on that. A new frame
is written behind its layer's tokens. Dropped tokens leave holes, which the layer's last tokens
fill. When budgets move between layers, a layer slides by moving only as many tokens as it slides
slots. So the traffic per frame is that of the new tokens, whatever the size of the memory.
"""

from typing import Any

import torch
from torch import Tensor

FRAME_DTYPE = torch.int32


class TokenStore:
    """keys, values: (batch, heads, slots, head_dim); frames: (batch, heads, slots), the frame a
    token came from. Heads keep tokens of their own; all heads of a layer hold equally many."""

    def __init__(self, layers: int) -> None:
        self.lengths = [0] * layers
        self._starts = [0] * layers
        self._arena: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def slots(self) -> int:
        return 0 if self._arena is None else self._arena[0].shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 0 if self._arena is None else sum(part.nbytes for part in self._arena)

    def allocate(self, like: Tensor, dtype: torch.dtype, slots: int) -> None:
        """Hold `slots` tokens like (batch, heads, tokens, head_dim) `like`; keep what is held."""
        batch, heads, _, head_dim = like.shape
        old = self._arena
        with torch.inference_mode(False):  # a stream may go on in and out of inference mode
            self._arena = (
                like.new_zeros(batch, heads, slots, head_dim, dtype=dtype),
                like.new_zeros(batch, heads, slots, head_dim, dtype=dtype),
                like.new_zeros(batch, heads, slots, dtype=FRAME_DTYPE),
            )
        starts = self._layout(slots)
        if old is not None:
            for layer, length in enumerate(self.lengths):
                before, after = self._starts[layer], starts[layer]
                for source, target in zip(old, self._arena, strict=True):
                    target[:, :, after : after + length] = source[:, :, before : before + length]
        self._starts = starts

    def make_room(self, tokens: int) -> None:
        """Slide the layers until each has `tokens` free slots. The arena must have them in all."""
        ends = [*self._starts[1:], self.slots]
        spans = zip(ends, self._starts, self.lengths, strict=True)
        if all(end - start - length >= tokens for end, start, length in spans):
            return
        targets = self._layout(self.slots)
        layers = range(len(targets))
        # those that slide left go first to last, then those that slide right last to first:
        # none meets a neighbour that has not moved out of the way
        for layer in [i for i in layers if targets[i] < self._starts[i]]:
            self._slide(layer, targets[layer])
        for layer in [i for i in reversed(layers) if targets[i] > self._starts[i]]:
            self._slide(layer, targets[layer])

    def _layout(self, slots: int) -> list[int]:
        """First slot of each layer when the free slots are shared equally."""
        layers, free = len(self.lengths), slots - sum(self.lengths)
        return [sum(self.lengths[:i]) + free * i // layers for i in range(layers)]

    def _slide(self, layer: int, target: int) -> None:
        start, length = self._starts[layer], self.lengths[layer]
        count = min(abs(target - start), length)
        if target > start:
            self._move(start, target + length - count, count)
        else:
            self._move(start + length - count, target, count)
        self._starts[layer] = target

    def _move(self, source: int, target: int, count: int) -> None:
        for part in self._parts():
            part[:, :, target : target + count] = part[:, :, source : source + count]

    def append(self, layer: int, keys: Tensor, values: Tensor, frame: int) -> None:
        """Write keys and values (batch, heads, tokens, head_dim) behind the layer's tokens."""
        start = self._starts[layer] + self.lengths[layer]
        span = slice(start, start + keys.shape[2])
        all_keys, all_values, frames = self._parts()
        all_keys[:, :, span], all_values[:, :, span], frames[:, :, span] = keys, values, frame
        self.lengths[layer] += keys.shape[2]

    def read(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Views: keys, values (batch, heads, tokens, head_dim), frames (batch, heads, tokens)."""
        span = slice(self._starts[layer], self._starts[layer] + self.lengths[layer])
        keys, values, frames = self._parts()
        return keys[:, :, span], values[:, :, span], frames[:, :, span]

    def drop(self, layer: int, indices: Tensor) -> None:
        """Forget tokens (batch, heads, count) of a layer, distinct in each head."""
        count = indices.shape[2]
        kept = self.lengths[layer] - count
        holes = indices.sort(dim=-1).values
        # of the last `count` tokens, those that stay come first: the i-th of them fills the i-th
        # hole; what pairs up after that lies behind the kept tokens and is never read
        leaving = torch.zeros(
            (*indices.shape[:2], count + 1), dtype=torch.bool, device=holes.device
        )
        leaving.scatter_(2, (holes - kept).clamp(min=-1) + 1, True)
        movers = kept + leaving[:, :, 1:].to(torch.uint8).argsort(dim=-1, stable=True)
        for part in self.read(layer):
            dims = (-1,) * 3 + part.shape[3:]
            at = [
                index.view(index.shape + (1,) * (part.ndim - 3)).expand(dims)
                for index in (holes, movers)
            ]
            part.scatter_(2, at[0], part.gather(2, at[1]))
        self.lengths[layer] = kept

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._arena is None:
            raise RuntimeError("nothing is allocated yet")
        return self._arena

    def state_dict(self) -> dict[str, Any]:
        """Everything held, without the free slots."""
        if self._arena is None:
            return {"lengths": list(self.lengths)}
        tokens = [
            torch.cat(parts, dim=2) for parts in zip(*map(self.read, self._all()), strict=True)
        ]
        places = {"lengths": list(self.lengths), "starts": list(self._starts)}
        return {**places, "slots": self.slots, "tokens": tokens}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self._arena, self.lengths = None, [0] * len(state["lengths"])
        if "tokens" not in state:
            return
        tokens = [part.to(device) for part in state["tokens"]]
        self.allocate(tokens[0], tokens[0].dtype, state["slots"])
        # the same places, because how layers slide depends on them, and with it the order of tokens
        self.lengths, self._starts = list(state["lengths"]), list(state["starts"])
        offset = 0
        for layer, length in enumerate(self.lengths):
            for target, source in zip(self.read(layer), tokens, strict=True):
                target.copy_(source[:, :, offset : offset + length])
            offset += length

    def _all(self) -> range:
        return range(len(self.lengths))
