# SPDX-License-Identifier: Apache-2.0
"""`model.precision: auto` is bf16 where that pays, and fp32 elsewhere."""

import pytest
import torch

from infinitevggt_core.model import kernels
from infinitevggt_ros.params import model_loading
from infinitevggt_ros.params.model_loading import BF16_WIDTH, load_model
from infinitevggt_ros.params.settings import ModelSettings

TINY_WIDTH = 144


@pytest.mark.parametrize(("graph", "records"), [("auto", True), ("off", False)])
def test_graph(graph: str, records: bool) -> None:
    settings = ModelSettings("random:tiny", device="cpu", graph=graph)
    assert load_model(settings).records_frames is records


@pytest.mark.parametrize(
    ("precision", "processor", "narrowest_in_bf16", "chosen"),
    [
        ("auto", {"avx512_bf16": True}, BF16_WIDTH, torch.float32),
        ("auto", {"avx512_bf16": True}, TINY_WIDTH, torch.bfloat16),
        ("auto", {"amx_bf16": True, "avx512_bf16": False}, TINY_WIDTH, torch.bfloat16),
        ("auto", {"avx512_f": True}, TINY_WIDTH, torch.float32),
        ("auto", {}, TINY_WIDTH, torch.float32),
        ("bf16", {}, BF16_WIDTH, torch.bfloat16),
        ("fp32", {"avx512_bf16": True}, TINY_WIDTH, torch.float32),
    ],
)
def test_precision(
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    processor: dict[str, bool],
    narrowest_in_bf16: int,
    chosen: torch.dtype,
) -> None:
    monkeypatch.setattr(kernels.torch.cpu, "get_capabilities", lambda: processor)
    monkeypatch.setattr(model_loading, "BF16_WIDTH", narrowest_in_bf16)
    model = load_model(ModelSettings("random:tiny", device="cpu", precision=precision))
    assert model.config.embed_dim == TINY_WIDTH
    assert model.dtype == chosen
    assert model.camera_head.token_norm.weight.dtype == torch.float32
