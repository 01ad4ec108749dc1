# SPDX-License-Identifier: Apache-2.0
"""The network in training: causal batch forward pass, frozen parts, precision."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model.attention import Attend, batch_attention
from infinitevggt_core.model.late_tensors import moved
from infinitevggt_core.model.layers import LayerScale
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.training.config import StudentConfig
from infinitevggt_core.training.correspondence import PatchTracks, match_scores
from infinitevggt_core.training.schedule import FrameSubset
from infinitevggt_core.training.targets import Outputs


class Student(nn.Module):
    """A trainable VGGT with causal attention, as in streaming."""

    def __init__(
        self,
        model: VGGT,
        config: StudentConfig,
        *,
        points: bool = True,
        tracks: bool = False,
        matches: bool = False,
    ) -> None:
        """points: train the point head. tracks: add heads for patch tracks. matches: return the
        attention logits of the global layers to the reference frame."""
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
        """Return aggregator, heads and auxiliary heads, whose gradients are clipped one by one."""
        return [
            part
            for part in (*self.model.children(), self.tracks)
            if part is not None and any(p.requires_grad for p in part.parameters())
        ]

    def forward(self, images: Tensor, subset: FrameSubset | None = None) -> Outputs:
        """Run the network on a batch of clips.

        images: (B, S, 3, H, W) in [0, 1]. subset: frames with dense maps; all frames by default.
        """
        model, kind = self.model, images.device.type
        model.check_images(images, dims=5)
        frames = images.shape[1]
        subset = subset or FrameSubset.whole(frames)
        attend = self._causal(frames)
        matches: list[Tensor] = []

        def attend_layer(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if self.matches and layer > 0 and frames > 1:
                matches.append(match_scores(q, k, frames, subset.reference))
            return attend(q, k, v)

        size = (images.shape[-2], images.shape[-1])
        with torch.autocast(kind, torch.bfloat16, enabled=self.autocasts), self._attention(kind):
            levels = model.aggregator(images, attend_layer, model.feature_layers)
            seen = tuple(matches)
            chosen = moved(torch.tensor(subset.dense), images.device)
            dense = {level: x.index_select(1, chosen) for level, x in levels.items()}
            depth, depth_confidence = model.depth_head(dense, size)
            points, confidence = model.point_head(dense, size) if self.points else (None, None)
        last = levels[model.config.depth - 1]
        with torch.autocast(kind, enabled=False):  # a pose needs more digits than bf16 has
            poses = model.camera_head.refinements(
                last.float(), lambda _iteration, _block, q, k, v: attend(q, k, v)
            )
            tracks = self.tracks(levels) if self.tracks is not None else ()
        return Outputs(
            tuple(poses), subset, depth[..., 0], depth_confidence, points, confidence, tracks, seen
        )

    def _causal(self, frames: int) -> Attend:
        """Return causal attention over frames.

        On a CPU, one masked product is faster for short clips than a product per frame.
        """
        if self.autocasts and self.model.device.type == "cpu":
            return partial(masked_attention, frames)
        return batch_attention("causal", frames, window=1)

    def _attention(self, device_type: str) -> AbstractContextManager[None]:
        """Select the kernel of attention.

        On a CPU in bf16 and for a hundred tokens, PyTorch's flash attention takes five times as
        long as plain matrix products.
        """
        if self.autocasts and device_type == "cpu":
            return sdpa_kernel(SDPBackend.MATH)
        return nullcontext()


def masked_attention(frames: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention over frames of q, k, v (B, heads, S P, d)."""
    frame = torch.arange(frames, device=q.device).repeat_interleave(q.shape[-2] // frames)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    seen = scores.masked_fill(frame[:, None] < frame, -torch.inf)
    out: Tensor = seen.softmax(-1) @ v
    return out


def wants_bf16(precision: str, device: torch.device) -> bool:
    """Return True if the forward pass runs in bf16; "auto" selects it if it is fast on the
    device."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def freeze(model: VGGT, config: StudentConfig, points: bool) -> None:
    """Disable gradients of untrained parts.

    These are the parts chosen in the configuration, the point head if it has no loss, and the track
    head, which has no labels.
    """
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
    """Enable gradient checkpointing: transformer blocks store their inputs only."""
    aggregator = model.aggregator
    for block in (*aggregator.frame_blocks, *aggregator.global_blocks):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def initialise(config: ModelConfig, seed: int, layer_scale: float) -> VGGT:
    """Return a network to train from scratch.

    layer_scale: initial value of LayerScale. The published 0.01 suits deep networks; a network of
    few layers learns nothing from its attention for a long time. Global blocks start with equal
    queries and keys, which shortens the search for matches between frames.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VGGT(config)
        for module in model.modules():
            if isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, layer_scale)
        for block in model.aggregator.global_blocks.children():
            mimetic_init(block)
        for tokens in (model.aggregator.camera_token, model.aggregator.register_token):
            nn.init.normal_(tokens, std=0.02)
    return model


@torch.no_grad()
def mimetic_init(block: nn.Module) -> None:
    """Copy the projection to queries to that of keys (mimetic initialisation, arXiv 2305.09828)."""
    query, key, _ = block.get_parameter("attn.qkv.weight").chunk(3)
    key.copy_(query)
