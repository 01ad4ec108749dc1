# SPDX-License-Identifier: Apache-2.0
"""Matrix products and attention by the fastest library for the processor.

On a CPU, PyTorch computes fp32 products with MKL, which leaves half of the vector units of AMD
processors unused. oneDNN, which PyTorch includes as well, uses them. In bf16, where PyTorch calls
oneDNN itself, the direct call saves overhead. Everywhere else, and if gradients are needed,
PyTorch's own choice stays.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infinitevggt_core.io.machine import processor

LEAST_ROWS = 16
"""Rows from which oneDNN is used. Below, reading the weights dominates, in both libraries."""
LEAST_KEY_NUMBERS = 2**16
"""Size of a head's keys from which oneDNN is used. Below, PyTorch's fused attention is as fast."""
QUERIES_AT_ONCE = 256
"""Queries per block: their products with some thousand keys fit into the processor's cache."""
PRECISIONS = (torch.float32, torch.bfloat16)

_plain = ContextVar("plain", default=False)


class Linear(nn.Linear):
    """Linear layer whose product runs in the fastest library."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] >= LEAST_ROWS and prefers_onednn(x):
            return onednn_product(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias)


def attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, *, is_planned: bool = True
) -> Tensor:
    """Attend all keys; queries are (batch, heads, tokens, head_dim).

    bias: added to the scaled products, (1, 1, 1, keys). is_planned: False if the number of keys
    changes from frame to frame. cuDNN would plan each number anew, and keep every plan.
    """
    is_large = q.shape[-2] >= LEAST_ROWS and k.shape[-2] * k.shape[-1] >= LEAST_KEY_NUMBERS
    if is_large and bias is None and prefers_onednn(q):
        return _attention_by_products(q, k, v)
    if not is_planned and q.device.type == "cuda":
        with without_cudnn():
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Context manager in which attention is computed without cuDNN. Two calls of PyTorch's
    settings: `sdpa_kernel` takes as long as a launch."""
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@contextmanager
def plain() -> Iterator[None]:
    """Context manager that restores PyTorch's own choice, for comparison."""
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)


def prefers_onednn(x: Tensor) -> bool:
    """Return True if oneDNN is faster for a product with x."""
    if x.device.type != "cpu" or x.dtype not in PRECISIONS or torch.is_grad_enabled():
        return False
    return not torch.compiler.is_compiling() and mkl_is_slow() and not _plain.get()


def has_fast_bf16(device: torch.device) -> bool:
    """Return True if a product in bf16 takes at most half the time of one in fp32."""
    if device.type != "cpu":
        return device.type == "cuda"
    processor_has = torch.cpu.get_capabilities()
    return bool(processor_has.get("avx512_bf16") or processor_has.get("amx_bf16"))


@lru_cache(maxsize=1)
def mkl_is_slow() -> bool:
    backends = torch.backends
    has_both = all(library.is_available() for library in (backends.mkl, backends.mkldnn))
    has_product = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # a private name may go
    return (
        has_both
        and has_product
        and "AMD" in processor()
        and backends.cpu.get_cpu_capability() == "AVX512"
    )


def onednn_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply (..., in) by (out, in) to (..., out)."""
    # the operator that torch.compile emits for linear layers; it has no public name
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def _attention_by_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention by products. Scores and softmax are fp32: bf16 would change the scores."""
    out = torch.empty_like(q)
    scaled = q.float() * q.shape[-1] ** -0.5
    for place in product(range(q.shape[0]), range(q.shape[1])):
        # rows with gaps between them are a thousand times slower
        keys, values = k[place].float().contiguous(), v[place].contiguous().t()
        queries, targets = (x[place].split(QUERIES_AT_ONCE) for x in (scaled, out))
        for query, target in zip(queries, targets, strict=True):
            weights = onednn_product(query, keys).softmax(dim=-1).to(v.dtype)
            target.copy_(onednn_product(weights, values))
    return out
