# SPDX-License-Identifier: Apache-2.0
"""Products and attention by oneDNN are those of PyTorch, and a stream keeps the same tokens."""

from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core import VGGT, StreamSession
from infinitevggt_core.model import kernels
from support.core_samples import EVICTING, EXACT, SMALL, clip_of, push_all, small_frames
from support.core_samples import assert_predictions_close as assert_close

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN"
)

has_bf16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
needs_bf16 = pytest.mark.skipif(not has_bf16, reason="oneDNN has no bf16 on this processor")


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Those by oneDNN, which is taken on any processor and for the smallest network."""
    monkeypatch.setattr(kernels, "mkl_is_slow", lambda: True)
    monkeypatch.setattr(kernels, "LEAST_ROWS", 1)
    monkeypatch.setattr(kernels, "LEAST_KEY_NUMBERS", 1)
    spy = Mock(wraps=kernels.onednn_product)
    monkeypatch.setattr(kernels, "onednn_product", spy)
    return spy


@needs_onednn
@pytest.mark.parametrize("queries", [1, 128, 300])
def test_attention_by_products_is_attention(products: Mock, queries: int) -> None:
    """Use views with heads side by side, as a block returns them."""
    generator = torch.Generator().manual_seed(queries)
    q = torch.randn(2, queries, 3, 20, generator=generator).transpose(1, 2)
    k, v = torch.randn(2, 2, 41, 3, 20, generator=generator).transpose(2, 3)
    with torch.no_grad():
        got = kernels.attention(q, k, v)
    want = torch.softmax(q.double() @ k.double().mT / 20**0.5, dim=-1) @ v.double()
    torch.testing.assert_close(got.double(), want, atol=EXACT, rtol=0)
    assert products.call_count == 2 * 2 * 3 * -(-queries // kernels.QUERIES_AT_ONCE)
    factors = [call.args[1] for call in products.call_args_list]
    assert all(x.is_contiguous() or x.t().is_contiguous() for x in factors), "slow with gaps"


@needs_bf16
def test_attention_in_bf16_has_scores_in_fp32(products: Mock) -> None:
    """Large ones, which bf16 would round by more than the whole error that is left."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 300, 64, generator=generator)
    q, k, v = (4 * q).bfloat16(), k.bfloat16(), v.bfloat16()
    with torch.no_grad():
        got = kernels.attention(q, k, v)
    scores = q.double() @ k.double().mT / 64**0.5
    want = torch.softmax(scores, dim=-1) @ v.double()
    rounded = torch.softmax(scores.bfloat16().double(), dim=-1) @ v.double()
    assert products.call_count
    assert got.dtype == torch.bfloat16
    assert relative_error(got, want) < 2**-8 < relative_error(rounded, want)


def relative_error(got: Tensor, want: Tensor) -> float:
    """Root of the mean square over that of what is wanted."""
    return float((got - want).norm() / want.norm())


@needs_onednn
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bf16)])
def test_a_linear_layer_is_a_product(products: Mock, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 40, generator=generator).to(dtype)
    layer = kernels.Linear(40, 30).to(dtype)
    with torch.no_grad():
        got = layer(x)
        want = x.double() @ layer.weight.double().mT + layer.bias.double()
    products.assert_called_once()
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, atol=EXACT, rtol=torch.finfo(dtype).eps)


def test_other_precisions_are_left_alone(products: Mock) -> None:
    layer, x = kernels.Linear(4, 3).double(), torch.randn(1, 2, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
        kernels.attention(x, x, x)
    products.assert_not_called()


@needs_onednn
def test_a_stream_keeps_the_same_tokens(model: VGGT, products: Mock) -> None:
    frames = small_frames(24)
    ours, plain = StreamSession(model, EVICTING), StreamSession(model, EVICTING)
    got = push_all(ours, frames)
    called = products.call_count
    with kernels.plain():
        want = push_all(plain, frames)
    assert called == products.call_count > 0
    assert_close(clip_of(got), clip_of(want))
    for layer in range(SMALL.depth):
        assert torch.equal(ours.token_frames(layer), plain.token_frames(layer))


def test_gradients_pass(products: Mock) -> None:
    """oneDNN's product has none."""
    layer, x = kernels.Linear(4, 3), torch.randn(5, 4)
    layer(x).sum().backward()
    assert torch.equal(layer.bias.grad, torch.full((3,), 5.0))
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    products.assert_not_called()
