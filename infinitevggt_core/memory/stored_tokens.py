# SPDX-License-Identifier: Apache-2.0
"""View of stored tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infinitevggt_core.memory.precision import Precision

FRAME_DTYPE = torch.int32
METADATA_DTYPE = torch.float32


@dataclass(frozen=True, slots=True)
class StoredTokens:
    """View of some tokens of a layer, or of all layers as one batch; writing to it writes to the
    store."""

    precision: Precision
    arena: list[Tensor]
    """Parts of keys, parts of values, frames and metadata: each (batch, heads, slots, ...)."""
    slots: slice
    """Slots of the tokens; of several layers, those of the first."""
    layers: int = 1
    """Number of layers. Several lie evenly in an arena of batch 1, and take the place of the batch
    in every view: (layers, heads, tokens, ...)."""

    @property
    def parts(self) -> list[Tensor]:
        """Views (batch, heads, tokens, ...) of the arena."""
        return [self._view(part) for part in self.arena]

    def _view(self, part: Tensor) -> Tensor:
        if self.layers == 1:
            return part[:, :, self.slots]
        pitch = self._pitch
        by_layer = torch.unflatten(part[0, :, : self.layers * pitch], 1, (self.layers, pitch))
        view: Tensor = by_layer.transpose(0, 1)[:, :, self.slots]
        return view

    @property
    def _pitch(self) -> int:
        """Slots from one layer to the next."""
        return self.arena[0].shape[2] // self.layers

    @property
    def keys(self) -> Tensor:
        """(batch, heads, tokens, head_dim)."""
        return self.precision.decode(self._key_parts)

    def keys_by_layer(self) -> list[Tensor]:
        """Return the keys, (batch, heads, tokens, head_dim): in one tensor where they are stored as
        they are, else layer by layer, so that only one is decoded at a time."""
        parts = self._key_parts
        if len(parts) == 1:
            return [self.precision.decode(parts)]
        by_layer = zip(*(torch.split(part, 1) for part in parts), strict=True)
        return [self.precision.decode(of_layer) for of_layer in by_layer]

    def after(self, count: int) -> "StoredTokens":
        """Return a view of the tokens behind the first `count`."""
        span = slice(self.slots.start + count, self.slots.stop)
        return StoredTokens(self.precision, self.arena, span, self.layers)

    @property
    def values(self) -> Tensor:
        """(batch, heads, tokens, head_dim)."""
        return self.precision.decode([self._view(x) for x in self.arena[self._per_vector : -2]])

    @property
    def frames(self) -> Tensor:
        """(batch, heads, tokens) int32: the frame of each token."""
        return self._view(self.arena[-2])

    @property
    def metadata(self) -> Tensor:
        """(batch, heads, tokens) fp32: a number per token, which the policy defines."""
        return self._view(self.arena[-1])

    def key_products(self, vector: Tensor) -> Tensor:
        """Return (batch, heads, tokens) fp32 products of each key with its head's vector (batch,
        heads, head_dim)."""
        return self.precision.products(self._key_parts, vector)

    def unit_keys(self, indices: Tensor | None = None) -> Tensor:
        """Return (batch, heads, tokens, head_dim) fp32 keys divided by their norms: all, or those
        at (batch, heads, count) indices. The metadata must be their inverse norms."""
        parts = [*self.arena[: self._per_vector], self.arena[-1]]
        if indices is None:
            parts = [self._view(part) for part in parts]
        else:
            parts = _rows_of(parts, self._first_rows() + indices)
        return self.precision.decode(parts[:-1]).float() * parts[-1][..., None]

    def overwrite(self, targets: Tensor, sources: Tensor) -> None:
        """Copy tokens from indices (batch, heads, count) to others, which are distinct per head."""
        first = self._first_rows()
        # all first: nothing is half done if memory ends
        taken = _rows_of(self.arena, first + sources)
        rows = (first + targets).flatten()
        for part, source in zip(self.arena, taken, strict=True):
            _as_rows(part).index_copy_(0, rows, _as_rows(source))

    def _first_rows(self) -> Tensor:
        """Return the row (batch, heads, 1) of the first token of each head in an arena seen as
        (batch * heads * slots, ...). Copying rows is faster than gather and scatter, which copy
        number by number."""
        batch, heads, slots = self.arena[0].shape[:3]
        device, start = self.arena[0].device, self.slots.start
        if self.layers == 1:
            rows = torch.arange(start, start + batch * heads * slots, slots, device=device)
            return rows.view(batch, heads, 1)
        by_head = torch.arange(start, start + heads * slots, slots, device=device)
        by_layer = torch.arange(0, self.layers * self._pitch, self._pitch, device=device)
        return by_layer[:, None, None] + by_head[:, None]

    @property
    def _key_parts(self) -> list[Tensor]:
        return [self._view(part) for part in self.arena[: self._per_vector]]

    @property
    def _per_vector(self) -> int:
        return (len(self.arena) - 2) // 2


def _as_rows(part: Tensor) -> Tensor:
    return part.view(-1, *part.shape[3:])


def _rows_of(parts: list[Tensor], rows: Tensor) -> list[Tensor]:
    """Return a copy of rows (batch, heads, count) of each part, (batch, heads, count, ...)."""
    flat = rows.flatten()
    return [
        _as_rows(part).index_select(0, flat).view(*rows.shape, *part.shape[3:]) for part in parts
    ]
