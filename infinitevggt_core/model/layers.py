# SPDX-License-Identifier: Apache-2.0
"""Transformer block of all parts of the network (docs/model.md, Aggregator)."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from infinitevggt_core.model.attention import Attend, attend_all
from infinitevggt_core.model.kernels import Linear
from infinitevggt_core.model.rope import Rotation


class Attention(nn.Module):
    """Fused projections of multi-head attention. The attention itself is the block's argument."""

    def __init__(self, dim: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()
        self.proj = Linear(dim, dim)

    def split(self, x: Tensor, rotate: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Project (batch, tokens, dim) to q, k, v (batch, heads, tokens, head_dim)."""
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotate is not None:
            q, k = rotate(q), rotate(k)
        return q, k, v

    def join(self, attended: Tensor) -> Tensor:
        """Project (batch, heads, tokens, head_dim) to (batch, tokens, dim)."""
        out: Tensor = self.proj(rearrange(attended, "b h n d -> b n (h d)"))
        return out


class Mlp(nn.Module):
    """Linear, GELU (erf form), Linear."""

    def __init__(self, dim: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, out or dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class LayerScale(nn.Module):
    """Learned scale per channel."""

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block on (batch, tokens, dim). `attend` computes the attention."""

    is_compiled = False
    """True if the parts run compiled. Attention does not, because the number of keys changes with
    every frame of a stream."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        eps: float = 1e-5,
        qk_norm: bool = False,
        layer_scale: float = 0.01,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, qk_norm)
        self.ls1 = LayerScale(dim, layer_scale)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, 4 * dim)
        self.ls2 = LayerScale(dim, layer_scale)

    def forward(
        self,
        x: Tensor,
        attend: Attend = attend_all,
        rotate: Rotation | None = None,
        observe: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Run the block. observe: called with the output of the feed-forward part."""
        before, after = compiled_parts() if self.is_compiled else (Block.before, Block.after)
        x, update = after(self, x, attend(*before(self, x, rotate)))
        if observe is not None:
            observe(update)
        return x

    def before(self, x: Tensor, rotate: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values (batch, heads, tokens, head_dim)."""
        return self.attn.split(self.norm1(x), rotate)

    def after(self, x: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens, and the output of the feed-forward part that was added to them."""
        x = x + self.ls1(self.attn.join(attended))
        update: Tensor = self.ls2(self.mlp(self.norm2(x)))
        return x + update, update


@lru_cache(maxsize=1)
def compiled_parts() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile the parts once for all blocks, so that no shape is compiled twice."""
    before, after = (torch.compile(x, dynamic=False) for x in (Block.before, Block.after))
    return before, after


def check_compiler(device: torch.device) -> None:
    """Raise RuntimeError with a one-line reason if torch.compile does not work."""
    try:
        torch.compile(torch.neg)(torch.ones(1, device=device))
    except Exception as error:  # a dozen libraries may fail, each in its own way
        reason = str(error).strip().splitlines()[0]
        raise RuntimeError(f"torch.compile does not work here: {reason}") from error


def parameter_dtype(module: nn.Module) -> torch.dtype:
    """Return the precision in which a module computes: that of its weights."""
    return next(module.parameters()).dtype
