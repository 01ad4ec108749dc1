# SPDX-License-Identifier: Apache-2.0
"""Keys and values of past tokens, for all layers of one cache, in one preallocated arena.

The layers lie one after another in the arena, each with free slots behind it:

    | layer 0 tokens | free | layer 1 tokens | free | ...

Attention does not depend on the order of keys, and the arena relies on that. A new frame is written
behind its layer's tokens. Dropped tokens leave holes, which the layer's last tokens fill. When
budgets move between layers, a layer slides by moving only as many tokens as it slides slots. The
traffic per frame is therefore that of the new tokens, whatever the size of the memory, and all
layers together have free slots for one frame only.
"""

from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.memory.precision import Precision, precision_of_part
from infinitevggt_core.memory.stored_tokens import FRAME_DTYPE, METADATA_DTYPE, StoredTokens


class TokenStore:
    """Tokens of all layers. Each head keeps its own tokens; all heads of a layer hold the same
    number."""

    def __init__(self, layers: int, precision: Precision) -> None:
        self.precision = precision
        self.lengths = [0] * layers
        self._starts = [0] * layers
        self._arena: list[Tensor] = []

    @property
    def slots(self) -> int:
        # parts grow one after another, and one of them may have failed to
        return min((part.shape[2] for part in self._arena), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(part.nbytes for part in self._arena)

    @property
    def layout(self) -> object:
        """Places of all tokens in memory."""
        arena = tuple((part.data_ptr(), part.shape) for part in self._arena)
        return arena, tuple(self._starts), tuple(self.lengths), self.precision

    @staticmethod
    def bytes_per_token(heads: int, head_dim: int, precision: Precision) -> int:
        """Return the bytes of one token of one layer, in all heads."""
        like = torch.empty(1, heads, 1, head_dim, device="meta")
        return sum(part.nbytes for part in _empty_parts(like, precision, slots=1))

    def allocate(self, like: Tensor, slots: int) -> None:
        """Allocate `slots` slots for tokens like `like`, (batch, heads, tokens, head_dim)."""
        with torch.inference_mode(False):  # a stream may go on in and out of inference mode
            self._arena = _empty_parts(like, self.precision, slots)
        self._starts = self._layout(slots)

    def resize(self, slots: int, through_host: bool = False) -> None:
        """Change the number of slots; it must hold all tokens. Parts are resized one by one, so
        that only one of them exists twice at a time. If memory ends, the store stays usable.

        through_host: copy through the host, if the device has no memory for a second part.
        """
        if slots < self.slots:
            self._arrange(slots)
        for index, part in enumerate(self._arena):
            both, device, shape = min(slots, part.shape[2]), part.device, list(part.shape)
            if through_host:
                part = self._arena[index] = part[:, :, :both].to("cpu", copy=True)
            shape[2] = slots
            with torch.inference_mode(False):
                resized = part.new_empty(shape, device=device)
            resized[:, :, :both] = part[:, :, :both]
            resized[:, :, both:] = 0  # finite, as in a new arena
            self._arena[index] = resized
        self._arrange(slots)

    def convert(self, precision: Precision) -> None:
        """Convert the stored tokens, one layer's worth at a time, and store later ones alike."""
        if self._arena:
            like = self._tokens(slice(0, 1)).keys
            with torch.inference_mode(False):
                parts = _empty_parts(like, precision, self.slots)[:-2]
            at_once = -(-self.slots // len(self.lengths))
            for first in range(0, self.slots, at_once):
                span = slice(first, first + at_once)
                tokens = self._tokens(span)
                encoded = _encoded(precision, tokens.keys, tokens.values)
                for target, source in zip(parts, encoded, strict=True):
                    target[:, :, span] = source
            self._arena = parts + self._arena[-2:]
        self.precision = precision

    def make_room(self, tokens: int) -> None:
        """Slide the layers until each has `tokens` free slots; the arena must have enough."""
        ends = [*self._starts[1:], self.slots]
        spans = zip(ends, self._starts, self.lengths, strict=True)
        if any(end - start - length < tokens for end, start, length in spans):
            self._arrange(self.slots)

    def _arrange(self, slots: int) -> None:
        """Distribute the free slots among the first `slots` equally over the layers."""
        targets = self._layout(slots)
        layers = range(len(targets))
        # those that slide left go first to last, then those that slide right last to first:
        # none meets a neighbour that has not moved out of the way
        for layer in [i for i in layers if targets[i] < self._starts[i]]:
            self._slide(layer, targets[layer])
        for layer in [i for i in reversed(layers) if targets[i] > self._starts[i]]:
            self._slide(layer, targets[layer])

    def _layout(self, slots: int) -> list[int]:
        """Return the first slot of each layer if the free slots are shared equally."""
        layers, free = len(self.lengths), slots - sum(self.lengths)
        if self._is_level:
            return [i * (slots // layers) for i in range(layers)]
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
        for part in self._arena:
            part[:, :, target : target + count] = part[:, :, source : source + count]

    def append(
        self, layer: int, keys: Tensor, values: Tensor, frame: Tensor | int, count: int = 1
    ) -> StoredTokens:
        """Write keys and values (batch, heads, tokens, head_dim) behind the layer's tokens and
        return them. Their metadata is still unset.

        count: frames that the tokens belong to, in order, `frame` (a scalar) the last of them.
        """
        length = self.lengths[layer]
        encoded = _encoded(self.precision, keys, values)
        self.lengths[layer] = length + keys.shape[2]
        written = self.read(layer, start=length)
        _write(written, encoded, frame, count)
        return written

    def append_to_all(self, keys: Tensor, values: Tensor, frame: Tensor) -> StoredTokens:
        """Write keys and values (layers, heads, tokens, head_dim) behind the tokens of all layers;
        `is_even` must be true."""
        length, layers = self.lengths[0], len(self.lengths)
        encoded = _encoded(self.precision, keys, values)
        self.lengths = [length + keys.shape[2]] * layers
        written = self.read_all().after(length)
        _write(written, encoded, frame, count=1)
        return written

    def read(self, layer: int, start: int = 0) -> StoredTokens:
        """Return a view of a layer's tokens from index `start` on."""
        if not self._arena:
            raise RuntimeError("nothing is allocated yet")
        first = self._starts[layer]
        return self._tokens(slice(first + start, first + self.lengths[layer]))

    def _tokens(self, slots: slice) -> StoredTokens:
        return StoredTokens(self.precision, self._arena, slots)

    @property
    def _is_level(self) -> bool:
        """True if all layers hold the same number of tokens."""
        return len(set(self.lengths)) == 1

    @property
    def is_even(self) -> bool:
        """True if all layers can be read as one batch: they are equally long, lie evenly in the
        arena, and belong to one stream."""
        shapes = {part.shape[:3] for part in self._arena}  # a resize may have failed half-way
        is_single = len(shapes) == 1 and shapes.pop()[0] == 1
        return is_single and self._is_level and self._starts == self._layout(self.slots)

    def read_all(self) -> StoredTokens:
        """Return a view of all layers as one batch; `is_even` must be true."""
        span = slice(0, self.lengths[0])
        return StoredTokens(self.precision, self._arena, span, len(self.lengths))

    def even_parts(self) -> tuple[list[Tensor], int] | None:
        """Return parts of the arena as (1, heads, layers, slots, ...), without a copy, and the
        number of slots in use at the head of each layer; None if `is_even` is false or slots are
        left over."""
        if not self.is_even or self.slots % len(self.lengths):
            return None
        shape = (len(self.lengths), -1)
        return [torch.unflatten(part, 2, shape) for part in self._arena], self.lengths[0]

    def drop(self, layer: int, indices: Tensor) -> None:
        """Remove the tokens at indices (batch, heads, count) from a layer, distinct per head."""
        self.lengths[layer] = _close_holes(self.read(layer), self.lengths[layer], indices)

    def drop_from_all(self, indices: Tensor) -> None:
        """Remove the tokens at indices (layers, heads, count); `is_even` must be true."""
        kept = _close_holes(self.read_all(), self.lengths[0], indices)
        self.lengths = [kept] * len(self.lengths)

    def truncate(self, layer: int, length: int) -> None:
        """Remove the tokens behind the first `length`."""
        self.lengths[layer] = min(length, self.lengths[layer])

    def state_dict(self) -> dict[str, Any]:
        """Return all tokens, without the free slots."""
        if not self._arena:
            return {"lengths": list(self.lengths)}
        layers = [self.read(layer) for layer in range(len(self.lengths))]
        return {
            "lengths": list(self.lengths),
            "starts": list(self._starts),
            "slots": self.slots,
            "stored": [
                torch.cat(part, dim=2) for part in zip(*(x.parts for x in layers), strict=True)
            ],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore tokens in the precision in which they were saved."""
        if len(state["lengths"]) != len(self.lengths):
            raise ValueError(f"{len(state['lengths'])} layers, not {len(self.lengths)}")
        self._arena, self.lengths = [], [0] * len(self.lengths)
        if "stored" not in state:
            return
        stored = [part.to(device) for part in state["stored"]]
        self.precision = precision_of_part(stored[0], self.precision.compute)
        self.allocate(self.precision.decode(stored[: (len(stored) - 2) // 2]), state["slots"])
        # the same places, because how layers slide depends on them, and with it the order of tokens
        self.lengths, self._starts = list(state["lengths"]), list(state["starts"])
        offset = 0
        for layer, length in enumerate(self.lengths):
            for target, source in zip(self.read(layer).parts, stored, strict=True):
                target.copy_(source[:, :, offset : offset + length])
            offset += length


def _empty_parts(like: Tensor, precision: Precision, slots: int) -> list[Tensor]:
    """Return parts of zeros for keys and values like `like`, (batch, heads, tokens, head_dim), for
    frames and for metadata."""
    batch, heads = like.shape[:2]
    vectors = precision.encode(like[:, :, :1]) * 2
    # zeros: an engine may read free slots and mask what it finds, which must be finite
    parts = [part.new_zeros(batch, heads, slots, *part.shape[3:]) for part in vectors]
    marks = [like.new_zeros(batch, heads, slots, dtype=t) for t in (FRAME_DTYPE, METADATA_DTYPE)]
    return parts + marks


def _encoded(precision: Precision, keys: Tensor, values: Tensor) -> list[Tensor]:
    return [part for vectors in (keys, values) for part in precision.encode(vectors)]


def _write(tokens: StoredTokens, encoded: list[Tensor], frame: Tensor | int, count: int) -> None:
    """Write parts of keys and values, and the frames; `frame` is the last of `count`."""
    for target, source in zip(tokens.parts[:-2], encoded, strict=True):
        target.copy_(source)
    for index, of_frame in enumerate(tokens.frames.chunk(count, dim=-1)):
        of_frame[:] = frame if count == 1 else frame - (count - 1 - index)


def _close_holes(tokens: StoredTokens, length: int, indices: Tensor) -> int:
    """Overwrite the tokens at indices (batch, heads, count) by the last ones that stay, and return
    the number of tokens that are left of `length`."""
    count = indices.shape[2]
    if not count:
        return length
    kept = length - count
    holes = indices.sort(dim=-1).values
    # of the last `count` tokens, those that stay come first: the i-th of them fills the i-th
    # hole; what pairs up after that lies behind the kept tokens and is never read
    leaving = torch.zeros((*indices.shape[:2], count + 1), dtype=torch.bool, device=holes.device)
    leaving.scatter_(2, (holes - kept).clamp(min=-1) + 1, True)
    movers = kept + leaving[:, :, 1:].to(torch.uint8).argsort(dim=-1, stable=True)
    tokens.overwrite(holes, movers)
    return kept
