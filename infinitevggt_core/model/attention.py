# SPDX-License-Identifier: Apache-2.0
"""Attention patterns, and the context in which frames are decoded.

An `Attend` takes queries, keys and values (batch, heads, tokens, head_dim).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from infinitevggt_core.model import kernels

Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
LayerAttend: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""An `Attend` that is told the layer."""

MODES = ("full", "causal", "window")


class Context(Protocol):
    """Other frames that the frames of one forward see: the memory of one session, the memories of
    several, or the frames of a clip."""

    @property
    def start_frames(self) -> int:
        """Number of frames at the head of the forward that start their stream together; 0 if the
        stream has begun before."""

    @property
    def indices(self) -> Sequence[int]:
        """Temporal index of the first frame, for each element of the batch."""

    def position(self, device: torch.device) -> Tensor | None:
        """Return `indices` as one number (1,) on the device, if the streams share it and a graph
        may read it; else None."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in a global block."""

    def attend_camera(self, iteration: int, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in a block of the camera head, in one of its refinements."""

    @property
    def watches_updates(self) -> bool:
        """True if `observe` must be called."""

    def observe(self, layer: int, updates: Tensor) -> None:
        """Observe the output of a global block's feed-forward part, (batch, tokens, dim)."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Context of a clip without any memory: its frames see each other."""

    mode: Attend
    start_frames: int
    batch: int
    watches_updates: bool = False

    @property
    def indices(self) -> list[int]:
        return [0] * self.batch

    def position(self, device: torch.device) -> None:
        """Return None: no graph holds a clip."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.mode(q, k, v)

    def attend_camera(self, iteration: int, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.mode(q, k, v)

    def observe(self, layer: int, updates: Tensor) -> None:
        """Do nothing."""


def attend_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend all keys."""
    return kernels.attention(q, k, v)


def batch_attention(mode: str, frames: int, window: int) -> Attend:
    """Return the attention over a whole clip (docs/model.md, Attention modes).

    full: every frame sees every frame (VGGT). causal: frame i sees frames 0..i (StreamVGGT).
    window: frame i sees frame 0 and the latest `window` frames, itself included (STream3R).
    Raises ValueError for another mode, or a window below 1.
    """
    if mode not in MODES:
        raise ValueError(f"attention must be one of {', '.join(MODES)}; got {mode!r}")
    if mode == "window" and window < 1:
        raise ValueError(f"window must be 1 frame or more, the current one included; got {window}")
    if mode == "full" or frames == 1:
        return attend_all
    reach = frames if mode == "causal" else window

    # frame by frame, as in a stream: no mask of (frames x tokens)^2, and half its work
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        tokens = q.shape[-2] // frames
        outputs = []
        for i, query in enumerate(torch.split(q, tokens, dim=-2)):
            visible = _frame_span(k, v, tokens, max(0, i - reach + 1), i + 1)
            outputs.append(attend_all(query, *visible))
        return torch.cat(outputs, dim=-2)

    return attend


def _frame_span(k: Tensor, v: Tensor, tokens: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Return keys and values of frame 0 and of frames start..stop-1."""
    if start <= 1:
        return k[..., : stop * tokens, :], v[..., : stop * tokens, :]
    span = slice(start * tokens, stop * tokens)
    return (
        torch.cat((k[..., :tokens, :], k[..., span, :]), dim=-2),
        torch.cat((v[..., :tokens, :], v[..., span, :]), dim=-2),
    )
