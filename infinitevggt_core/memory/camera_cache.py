# SPDX-License-Identifier: Apache-2.0
"""Cache of the camera head's tokens."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory.anchors import Anchors
from infinitevggt_core.memory.kv_cache import KVCache
from infinitevggt_core.memory.policies.window import Window
from infinitevggt_core.memory.precision import Precision
from infinitevggt_core.memory.stored_tokens import StoredTokens

ALIGNMENT = 8
"""Rows of a bias start at a multiple of it, in numbers: PyTorch would copy others."""


class CameraCache(KVCache):
    """Camera tokens of several streams in step, as whole frames that all layers and heads share.

    A whole cache holds as many tokens from the second frame on as when it is full, so that frames
    are the same sequence of operations: hidden tokens fill it, numbered as frames before the
    stream. Attention adds `bias`, by which it ignores them, and they are evicted first.
    """

    def __init__(
        self,
        layers: int,
        policy: Window,
        precision: Precision,
        anchors: Anchors,
        *,
        is_whole: bool = False,
    ) -> None:
        super().__init__(layers, policy, precision, anchors)
        self._is_whole = is_whole
        self._oldest = anchors.first  # number of the oldest hidden frame
        self._bias: Tensor | None = None

    def bias(self, layer: int) -> Tensor | None:
        """Return the bias (1, 1, 1, tokens) fp32 of the products with all keys of a layer; None if
        no token is hidden, ever. Layers are asked in order."""
        if not self._is_whole:
            return None
        if layer == 0 or self._bias is None:
            is_hidden = self._is_hidden(self._store.read(0))[:1, :1]
            bias = torch.zeros_like(is_hidden, dtype=torch.float32)
            bias = bias.masked_fill_(is_hidden, -torch.inf)[:, :, None]
            tokens = bias.shape[-1]
            self._bias = F.pad(bias, (0, -tokens % ALIGNMENT))[..., :tokens]
        return self._bias

    def _is_hidden(self, tokens: StoredTokens) -> Tensor:
        return tokens.frames < self.anchors.first

    def _candidates(self, tokens: StoredTokens) -> Tensor:
        candidates = super()._candidates(tokens)
        return candidates | self._is_hidden(tokens) if self._is_whole else candidates

    @property
    def _is_bounded(self) -> bool:
        return self._is_whole and self.budget.capacity < UNLIMITED

    def _wanted_slots(self) -> int:
        if self._is_bounded:
            return self.budget.capacity + self._shape.frame
        return super()._wanted_slots()

    def _fit_storage(self) -> None:
        super()._fit_storage()
        self._bias = None
        if self._is_bounded:
            self._fill()

    def _fill(self) -> None:
        """Append hidden tokens up to the bound."""
        tokens = self._store.read(0)
        missing = self._limits[0] - self._store.lengths[0]
        if missing <= 0:
            return
        size, device = self._shape.tokens_per_frame, tokens.frames.device
        first = self._oldest - missing // size
        frames = torch.arange(first, self._oldest, device=device).repeat_interleave(size)
        shape = list(tokens.keys.shape)
        shape[2] = missing
        zeros = tokens.keys.new_zeros(shape)
        for layer in range(self._shape.layers):
            self._store.append(layer, zeros, zeros, frames).metadata.zero_()
        self._oldest = first

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        super().load_state_dict(state, device)
        self._oldest, self._bias = self.anchors.first, None
        if not self._store.slots:
            return
        if self._is_whole:
            self._oldest = min(self._oldest, int(self._store.read(0).frames.min()))
            return
        for layer in range(self._shape.layers):
            is_hidden = self._is_hidden(self._store.read(layer))
            indices = is_hidden.nonzero()[:, -1].view(*is_hidden.shape[:2], -1)
            self._store.drop(layer, indices)
