"""The network in training: batch causal forward, frozen parts, precision."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from infinitevggt_core.attention import batch_attention
from infinitevggt_core.config import ModelConfig
from infinitevggt_core.layers import LayerScale
from infinitevggt_core.training.config import StudentConfig
from infinitevggt_core.training.matching import match_scores
from infinitevggt_core.training.outputs import Outputs
from infinitevggt_core.training.patch_tracks import PatchTracks
from infinitevggt_core.vggt import VGGT


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
        self.tracks = PatchTracks(model.config, model.levels).to(model.device) if tracks else None
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

    def forward(self, images: Tensor) -> Outputs:
        """images: (B, S, 3, H, W) in [0, 1]."""
        model, kind = self.model, images.device.type
        model.check_images(images, dims=5)
        frames = images.shape[1]
        attend = batch_attention("causal", frames, window=1)
        matches: list[Tensor] = []

        def attend_layer(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if self.matches and layer > 0 and frames > 1:
                matches.append(match_scores(q, k, frames))
            return attend(q, k, v)

        size = (images.shape[-2], images.shape[-1])
        with torch.autocast(kind, torch.bfloat16, enabled=self.autocasts), self._attention(kind):
            levels = model.aggregator(images, attend_layer, model.levels)
            seen = tuple(matches)
            depth, depth_confidence = model.depth_head(levels, size)
            points, confidence = model.point_head(levels, size) if self.points else (None, None)
        last = levels[model.config.depth - 1]
        with torch.autocast(kind, enabled=False):  # a pose needs more digits than bf16 has
            poses = model.camera_head.refinements(
                last.float(), lambda _iteration, _block, q, k, v: attend(q, k, v)
            )
            tracks = self.tracks(levels) if self.tracks is not None else ()
        return Outputs(
            tuple(poses), depth[..., 0], depth_confidence, points, confidence, tracks, seen
        )

    def _attention(self, device_type: str) -> AbstractContextManager[None]:
        """PyTorch's flash attention is made for long sequences: on a CPU, in bf16 and for a hundred
        tokens it takes five times as long as plain products."""
        if self.autocasts and device_type == "cpu":
            return sdpa_kernel(SDPBackend.MATH)
        return nullcontext()


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
    of few layers learns nothing from its attention for long.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VGGT(config)
        for module in model.modules():
            if isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, layer_scale)
        for tokens in (model.aggregator.camera_token, model.aggregator.register_token):
            nn.init.normal_(tokens, std=0.02)
    return model
