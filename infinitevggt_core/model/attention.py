# SPDX-License-Identifier: Apache-2.0
"""Who attends to whom. An `Attend` takes (batch, heads, tokens, head_dim) queries, keys, values."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from infinitevggt_core.model import kernels

Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
LayerAttend: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""The same, told which layer asks."""

MODES = ("full", "causal", "window")


def attend_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query sees every key."""
    return kernels.attention(q, k, v)


def batch_attention(mode: str, frames: int, window: int) -> Attend:
    """Attention over a whole clip (model_spec.md sections 3 and 9).

    full: every frame sees every frame (VGGT). causal: frame i sees frames 0..i (StreamVGGT).
    window: frame i sees frame 0 and the latest `window` frames, itself included (STream3R).
    """
    if mode not in MODES:
        raise ValueError(f"attention must be one of {', '.join(MODES)}; got {mode!r}")
    if mode == "window" and window < 1:
        raise ValueError(f"window must be 1 frame or more, the current one included; got {window}")
    if mode == "full" or frames == 1:
        return attend_all
    reach = frames if mode == "causal" else window

    # frame by frame, as a stream would: no mask of (frames x tokens)^2, and half its work
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        tokens = q.shape[-2] // frames
        outputs = []
        for i, query in enumerate(torch.split(q, tokens, dim=-2)):
            visible = _frame_span(k, v, tokens, max(0, i - reach + 1), i + 1)
            outputs.append(attend_all(query, *visible))
        return torch.cat(outputs, dim=-2)

    return attend


def _frame_span(k: Tensor, v: Tensor, tokens: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Keys and values of frame 0 and of frames start..stop-1."""
    if start <= 1:
        return k[..., : stop * tokens, :], v[..., : stop * tokens, :]
    span = slice(start * tokens, stop * tokens)
    return (
        torch.cat((k[..., :tokens, :], k[..., span, :]), dim=-2),
        torch.cat((v[..., :tokens, :], v[..., span, :]), dim=-2),
    )
