# SPDX-License-Identifier: Apache-2.0
"""The network in training: batch causal forward, frozen parts, precision."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model.attention import Attend, batch_attention
from infinitevggt_core.model.layers import LayerScale
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.training.config import StudentConfig
from infinitevggt_core.training.focus import Focus
from infinitevggt_core.training.matching import match_scores
from infinitevggt_core.training.outputs import Outputs
from infinitevggt_core.training.patch_tracks import PatchTracks


class Student(nn.Module):
    """A VGGT whose weights learn. What streams later sees the same past: attention is causal."""

    def __init__(
        self,
        model: VGGT,
        config: StudentConfig,
        *,
        points: bool = True,
        tracks: bool = False,
        matches: bool = False,
    ) -> None:
        """points: train the point head too. tracks: guess the shifts of patches. matches: show
        what the global layers look at in the first frame."""
        super().__init__()
        self.model, self.points, self.matches = model.train(), points, matches
        patch_tracks = PatchTracks(model.config, model.feature_layers) if tracks else None
        self.tracks = None if patch_tracks is None else patch_tracks.to(model.device)
        self.autocasts = wants_bf16(config.precision, model.device)
        freeze(model, config, points)
        for head in (model.depth_head, model.point_head):
            head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.gradient_checkpointing:
            recompute_blocks(model)

    @property
    def patch_size(self) -> int:
        return self.model.config.patch_size

    def parts(self) -> list[nn.Module]:
        """Aggregator, heads and guesses, for their gradients to be looked at one by one."""
        return [
            part
            for part in (*self.model.children(), self.tracks)
            if part is not None and any(p.requires_grad for p in part.parameters())
        ]

    def forward(self, images: Tensor, focus: Focus | None = None) -> Outputs:
        """images: (B, S, 3, H, W) in [0, 1]. focus: by default, the whole of the clips."""
        model, kind = self.model, images.device.type
        model.check_images(images, dims=5)
        frames = images.shape[1]
        focus = focus or Focus.whole(frames)
        attend = self._causal(frames)
        matches: list[Tensor] = []

        def attend_layer(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if self.matches and layer > 0 and frames > 1:
                matches.append(match_scores(q, k, frames, focus.reference))
            return attend(q, k, v)

        size = (images.shape[-2], images.shape[-1])
        with torch.autocast(kind, torch.bfloat16, enabled=self.autocasts), self._attention(kind):
            levels = model.aggregator(images, attend_layer, model.feature_layers)
            seen = tuple(matches)
            dense = {level: x[:, list(focus.dense)] for level, x in levels.items()}
            depth, depth_confidence = model.depth_head(dense, size)
            points, confidence = model.point_head(dense, size) if self.points else (None, None)
        last = levels[model.config.depth - 1]
        with torch.autocast(kind, enabled=False):  # a pose needs more digits than bf16 has
            poses = model.camera_head.refinements(
                last.float(), lambda _iteration, _block, q, k, v: attend(q, k, v)
            )
            tracks = self.tracks(levels) if self.tracks is not None else ()
        return Outputs(
            tuple(poses), focus, depth[..., 0], depth_confidence, points, confidence, tracks, seen
        )

    def _causal(self, frames: int) -> Attend:
        """What frames see of each other: on a CPU, one masked product is faster for short clips
        than a product per frame, although half of it is thrown away."""
        if self.autocasts and self.model.device.type == "cpu":
            return partial(masked_attention, frames)
        return batch_attention("causal", frames, window=1)

    def _attention(self, device_type: str) -> AbstractContextManager[None]:
        """PyTorch's flash attention is made for long sequences: on a CPU, in bf16 and for a hundred
        tokens it takes five times as long as plain products."""
        if self.autocasts and device_type == "cpu":
            return sdpa_kernel(SDPBackend.MATH)
        return nullcontext()


def masked_attention(frames: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of (B, heads, S P, d) over frames."""
    frame = torch.arange(frames, device=q.device).repeat_interleave(q.shape[-2] // frames)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    seen = scores.masked_fill(frame[:, None] < frame, -torch.inf)
    out: Tensor = seen.softmax(-1) @ v
    return out


def wants_bf16(precision: str, device: torch.device) -> bool:
    """Whether to autocast; "auto" does where bf16 is fast."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def freeze(model: VGGT, config: StudentConfig, points: bool) -> None:
    """Take gradients away from what is not trained: what the user chose, the point head where it
    has no loss, and the track head, which has no labels."""
    aggregator = model.aggregator
    if config.freeze_patch_embedding:
        aggregator.patch_embed.requires_grad_(False)
    if config.freeze_special_tokens:
        aggregator.camera_token.requires_grad_(False)
        aggregator.register_token.requires_grad_(False)
    if not points:
        model.point_head.requires_grad_(False)
    if model.track_head is not None:
        model.track_head.requires_grad_(False)


def recompute_blocks(model: VGGT) -> None:
    """Gradient checkpointing: transformer blocks keep their inputs only."""
    aggregator = model.aggregator
    for block in (*aggregator.frame_blocks, *aggregator.global_blocks):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def initialise(config: ModelConfig, seed: int, layer_scale: float) -> VGGT:
    """A network to train from scratch.

    layer_scale: the first value of every LayerScale. The published 0.01 is for deep networks; one
    of few layers learns nothing from its attention for long. Patches look for patches like
    themselves to begin with: matches between frames are found much sooner from there.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VGGT(config)
        for module in model.modules():
            if isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, layer_scale)
        for block in model.aggregator.global_blocks.children():
            look_for_likeness(block)
        for tokens in (model.aggregator.camera_token, model.aggregator.register_token):
            nn.init.normal_(tokens, std=0.02)
    return model


@torch.no_grad()
def look_for_likeness(block: nn.Module) -> None:
    """Make the projection to keys that to queries (mimetic initialisation, arXiv 2305.09828)."""
    query, key, _ = block.get_parameter("attn.qkv.weight").chunk(3)
    key.copy_(query)
