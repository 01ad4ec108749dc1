# SPDX-License-Identifier: Apache-2.0
"""The mean direction of a layer's keys, kept up to date by what comes and goes."""

import torch
from torch import Tensor

SUM_DTYPE = torch.float64
"""A key adds to the sum the very number it later takes away; in fp64 nothing adds up over a million
frames."""
SHORTEST = 1e-12


class MeanKeys:
    """Per layer and head, the sum of the normalised keys that may be forgotten."""

    def __init__(self) -> None:
        self._sums: dict[int, Tensor] = {}  # (batch, heads, head_dim) by layer

    def knows(self, layer: int) -> bool:
        return layer in self._sums

    def reset(self) -> None:
        """Some keys changed, or which of them may be forgotten: sum them up again when asked."""
        self._sums.clear()

    def set(self, layer: int, unit_keys: Tensor, candidates: Tensor) -> None:
        """From all keys of a layer, (batch, heads, tokens, head_dim), and which of them count."""
        self._sums[layer] = _sum(unit_keys * candidates[..., None])

    def add(self, layer: int, unit_keys: Tensor) -> None:
        """Tokens (batch, heads, tokens, head_dim) came in."""
        self._sums[layer] = self._sums[layer] + _sum(unit_keys)

    def remove(self, layer: int, unit_keys: Tensor) -> None:
        """Tokens (batch, heads, tokens, head_dim) were forgotten."""
        self._sums[layer] = self._sums[layer] - _sum(unit_keys)

    def mean(self, layer: int, counts: Tensor) -> Tensor:
        """(batch, heads, head_dim) fp32, for (batch, heads) counts of keys."""
        return (self._sums[layer] / counts.clamp(min=1)[..., None]).float()

    def state_dict(self) -> dict[int, Tensor]:
        return dict(self._sums)

    def load_state_dict(self, state: dict[int, Tensor], device: torch.device) -> None:
        self._sums = {layer: total.to(device) for layer, total in state.items()}


def inverse_norms(keys: Tensor) -> Tensor:
    """(batch, heads, tokens) fp32 of keys (batch, heads, tokens, head_dim)."""
    norms: Tensor = torch.linalg.vector_norm(keys, dim=-1, dtype=torch.float32)
    return 1 / norms.clamp(min=SHORTEST)


def _sum(unit_keys: Tensor) -> Tensor:
    return unit_keys.sum(dim=2, dtype=SUM_DTYPE)
