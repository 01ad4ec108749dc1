# SPDX-License-Identifier: Apache-2.0
"""Products and attention by the library that is fast where they run.

PyTorch's fp32 products on the CPU are MKL's, which leaves half of the vector units of AMD's
processors unused. oneDNN, the other library in PyTorch, uses them; in bf16, where PyTorch asks
oneDNN too, its operator is reached by a shorter way. Everywhere else, and where gradients are asked
for, PyTorch's own choice stays.
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
"""For fewer of them reading the weights takes the time, and both libraries do that alike."""
LEAST_KEY_NUMBERS = 2**16
"""Of a head: below it PyTorch's fused attention is as fast."""
QUERIES_AT_ONCE = 256
"""What they make of some thousand keys stays in the cache."""
PRECISIONS = (torch.float32, torch.bfloat16)

_plain = ContextVar("plain", default=False)


class Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] >= LEAST_ROWS and prefers_onednn(x):
            return _product(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query (batch, heads, tokens, head_dim) sees every key."""
    is_large = q.shape[-2] >= LEAST_ROWS and k.shape[-2] * k.shape[-1] >= LEAST_KEY_NUMBERS
    if is_large and prefers_onednn(q):
        return _attention_by_products(q, k, v)
    return F.scaled_dot_product_attention(q, k, v)


@contextmanager
def plain() -> Iterator[None]:
    """PyTorch's own choice while this lasts: what these kernels are compared with."""
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)


def prefers_onednn(x: Tensor) -> bool:
    """Whether a product with x is faster by it."""
    if x.device.type != "cpu" or x.dtype not in PRECISIONS or torch.is_grad_enabled():
        return False
    return not torch.compiler.is_compiling() and _mkl_is_slow() and not _plain.get()


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a product in bf16 takes half the time there that it takes in fp32, or less."""
    if device.type != "cpu":
        return device.type == "cuda"
    processor_has = torch.cpu.get_capabilities()
    return bool(processor_has.get("avx512_bf16") or processor_has.get("amx_bf16"))


@lru_cache(maxsize=1)
def _mkl_is_slow() -> bool:
    backends = torch.backends
    has_both = all(library.is_available() for library in (backends.mkl, backends.mkldnn))
    has_product = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # a private name may go
    return (
        has_both
        and has_product
        and "AMD" in processor()
        and backends.cpu.get_cpu_capability() == "AVX512"
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., in), (out, in) -> (..., out)."""
    # what torch.compile makes of linear layers; PyTorch has no public name for it
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def _attention_by_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scores and their softmax are fp32: rounded to bf16 they would be other scores."""
    out = torch.empty_like(q)
    scaled = q.float() * q.shape[-1] ** -0.5
    for place in product(range(q.shape[0]), range(q.shape[1])):
        # rows with gaps between them would cost a thousand times as much
        keys, values = k[place].float().contiguous(), v[place].contiguous().t()
        queries, targets = (x[place].split(QUERIES_AT_ONCE) for x in (scaled, out))
        for query, target in zip(queries, targets, strict=True):
            weights = _product(query, keys).softmax(dim=-1).to(v.dtype)
            target.copy_(_product(weights, values))
    return out
