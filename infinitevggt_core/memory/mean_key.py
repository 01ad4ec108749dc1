# SPDX-License-Identifier: Apache-2.0
"""Running mean of the normalised keys of each layer."""

import torch
from torch import Tensor

SUM_DTYPE = torch.float64
"""A key subtracts exactly the number it added; in fp64 no error builds up over a million frames."""
SHORTEST = 1e-12


class MeanKeys:
    """Sum of the normalised keys that may be evicted, per layer and head. It stays at its place in
    memory, so that a graph of one frame holds for the next."""

    def __init__(self) -> None:
        self._sums: dict[int, Tensor] = {}  # (batch, heads, head_dim) by layer

    @property
    def layout(self) -> object:
        """Places of the sums in memory."""
        return tuple((layer, total.data_ptr()) for layer, total in self._sums.items())

    def knows(self, layer: int) -> bool:
        """Return True if the sum of a layer is up to date."""
        return layer in self._sums

    def reset(self) -> None:
        """Discard all sums: keys changed, or the set of those that may be evicted."""
        self._sums.clear()

    def set(self, layer: int, unit_keys: Tensor, candidates: Tensor) -> None:
        """Sum up the candidates among all keys of a layer, (batch, heads, tokens, head_dim)."""
        self._sums[layer] = _kept(_sum(unit_keys * candidates[..., None]))

    def add(self, layer: int, unit_keys: Tensor) -> None:
        """Add appended tokens (batch, heads, tokens, head_dim)."""
        self._sums[layer] += _sum(unit_keys)

    def remove(self, layer: int, unit_keys: Tensor) -> None:
        """Subtract evicted tokens (batch, heads, tokens, head_dim)."""
        self._sums[layer] -= _sum(unit_keys)

    def mean(self, layer: int, counts: Tensor) -> Tensor:
        """Return the mean (batch, heads, head_dim) fp32, for (batch, heads) counts of keys."""
        return (self._sums[layer] / counts.clamp(min=1)[..., None]).float()

    def state_dict(self) -> dict[int, Tensor]:
        return {layer: total.clone() for layer, total in self._sums.items()}

    def load_state_dict(self, state: dict[int, Tensor], device: torch.device) -> None:
        self._sums = {layer: _kept(total.to(device)) for layer, total in state.items()}


def inverse_norms(keys: Tensor) -> Tensor:
    """Return (batch, heads, tokens) fp32 inverse norms of keys (batch, heads, tokens, head_dim)."""
    norms: Tensor = torch.linalg.vector_norm(keys, dim=-1, dtype=torch.float32)
    return 1 / norms.clamp(min=SHORTEST)


def _kept(total: Tensor) -> Tensor:
    """Return a copy that changes in place in and out of inference mode, as the store."""
    with torch.inference_mode(False):
        kept = torch.empty_like(total)
    return kept.copy_(total)


def _sum(unit_keys: Tensor) -> Tensor:
    return unit_keys.sum(dim=2, dtype=SUM_DTYPE)
