# SPDX-License-Identifier: Apache-2.0
"""Attention over the memory asks cuDNN for no plan of lengths that move."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend

from infinitevggt_core import MemoryConfig, StreamSession
from support.core_samples import EVICTING, FRAMES, HEIGHT, SMALL, TOKENS, WIDTH, WINDOW, small_model
from support.null_gpu import is_null

COUNT = 16
CUDNN = SDPBackend.CUDNN_ATTENTION.value


class Choices:
    """PyTorch's choices of a kernel for attention over more tokens than a frame has. The null GPU
    cannot run cuDNN: another kernel runs in its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of_lengths: list[tuple[int, int]] = []
        """Keys, choice."""
        self._attend = F.scaled_dot_product_attention
        monkeypatch.setattr(F, "scaled_dot_product_attention", self._choose)
        torch.backends.cuda.enable_cudnn_sdp(True)

    def _choose(self, q: Any, k: Any, v: Any, **options: Any) -> Any:
        torch.backends.cudnn.enabled = True
        choice = torch._fused_sdp_choice(q, k, v)
        if k.shape[2] > TOKENS and q.shape[2] == TOKENS:
            self.of_lengths.append((k.shape[2], choice))
        before = torch.backends.cuda.cudnn_sdp_enabled()
        if is_null():
            torch.backends.cudnn.enabled = False
            torch.backends.cuda.enable_cudnn_sdp(False)
        try:
            return self._attend(q, k, v, **options)
        finally:
            torch.backends.cuda.enable_cudnn_sdp(before)


def chosen(memory: MemoryConfig, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    model = small_model(config=SMALL).to("cuda").cast(torch.bfloat16)
    model.records_frames = False
    session, choices = StreamSession(model, memory), Choices(monkeypatch)
    for image in torch.rand(COUNT, 3, HEIGHT, WIDTH):
        session.push(image)
    assert torch.backends.cuda.cudnn_sdp_enabled()
    return choices.of_lengths


def test_lengths_that_move_are_never_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(EVICTING, monkeypatch)
    assert len(found) > COUNT
    assert CUDNN not in {choice for _, choice in found}


@pytest.mark.parametrize("memory", [FRAMES, WINDOW], ids=["frames", "window"])
def test_only_the_length_of_a_full_memory_is_planned(
    memory: MemoryConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = chosen(memory, monkeypatch)
    full = found[-1][0]
    assert {length for length, choice in found if choice == CUDNN} == {full}
    assert len({length for length, _ in found}) > 2
