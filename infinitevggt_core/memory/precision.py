# SPDX-License-Identifier: Apache-2.0
"""Storage of keys and values: plain numbers, or eight bits with a scale per token."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRECISIONS = ("auto", *DTYPES, "int8")
LARGEST = 127
"""Largest signed eight-bit number used."""
BF16_PIECES = 3
"""24 bits of mantissa in pieces of 8: as exact as fp32."""


@dataclass(frozen=True)
class Precision(ABC):
    """Conversion of vectors (batch, heads, tokens, head_dim) to stored parts and back."""

    compute: torch.dtype
    """Precision of decoded vectors, and of the attention over them."""

    @abstractmethod
    def encode(self, vectors: Tensor) -> tuple[Tensor, ...]:
        """Return parts (batch, heads, tokens, ...)."""

    @abstractmethod
    def decode(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the vectors, or views of the stored ones if no conversion is needed."""

    @abstractmethod
    def products(self, parts: Sequence[Tensor], vector: Tensor) -> Tensor:
        """Return (batch, heads, tokens) products of each stored vector with its head's `vector`
        (batch, heads, head_dim), to fp32 precision, in one pass over the stored parts."""


class Plain(Precision):
    """Plain numbers in precision `compute`."""

    def encode(self, vectors: Tensor) -> tuple[Tensor, ...]:
        return (vectors.to(self.compute),)

    def decode(self, parts: Sequence[Tensor]) -> Tensor:
        return parts[0]

    def products(self, parts: Sequence[Tensor], vector: Tensor) -> Tensor:
        return fp32_products(parts[0], vector)


class EightBit(Precision):
    """Eight bits per number, and one fp32 scale per head and token."""

    def encode(self, vectors: Tensor) -> tuple[Tensor, ...]:
        vectors = vectors.float()
        scales = vectors.abs().amax(dim=-1) / LARGEST
        steps = vectors / scales.clamp(min=torch.finfo(torch.float32).tiny)[..., None]
        return steps.round().to(torch.int8), scales

    def decode(self, parts: Sequence[Tensor]) -> Tensor:
        steps, scales = parts
        return steps.to(self.compute) * scales[..., None].to(self.compute)

    def products(self, parts: Sequence[Tensor], vector: Tensor) -> Tensor:
        steps, scales = parts
        return fp32_products(steps, vector) * scales


def precision_of(name: str, model_dtype: torch.dtype) -> Precision:
    """Return the precision that MemoryConfig.dtype names, for a network in `model_dtype`."""
    if name == "int8":
        return EightBit(model_dtype)
    return Plain(DTYPES.get(name, model_dtype))


def precision_of_part(part: Tensor, compute: torch.dtype) -> Precision:
    """Return the precision whose `encode` wrote this first part."""
    return EightBit(compute) if part.dtype == torch.int8 else Plain(part.dtype)


def fp32_products(vectors: Tensor, vector: Tensor) -> Tensor:
    """Return fp32 products (B, H, N) of vectors (B, H, N, d) of any precision and fp32 (B, H, d).

    Products rounded to bf16 are not precise enough: they change a tenth of the evicted tokens.
    """
    if vectors.dtype == torch.float32:
        return (vector[..., None, :] @ vectors.transpose(-1, -2)).squeeze(-2)
    if vectors.device.type != "cpu":  # bf16 times bf16 is exact in fp32, where tensor cores add up
        pieces = _bf16_pieces(vector).flatten(0, 1)
        half = vectors.flatten(0, 1).to(torch.bfloat16)  # holds eight bits exactly
        products = torch.bmm(half, pieces, out_dtype=torch.float32)
        return products.sum(dim=-1).view(vectors.shape[:3])
    out = vector.new_empty(vectors.shape[:3])
    for place in torch.cartesian_prod(*map(torch.arange, vectors.shape[:2])).tolist():
        at = tuple(place)  # head by head: a head's keys in fp32 fit into the cache
        torch.mv(vectors[at].float(), vector[at], out=out[at])
    return out


def _bf16_pieces(vector: Tensor) -> Tensor:
    """Split (..., d) fp32 into (..., d, pieces) bf16 that sum to it."""
    pieces, rest = [], vector
    for _ in range(BF16_PIECES):
        pieces.append(rest.to(torch.bfloat16))
        rest = rest - pieces[-1].float()
    return torch.stack(pieces, dim=-1)
