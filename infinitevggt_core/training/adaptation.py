# SPDX-License-Identifier: Apache-2.0
"""Adaptation of a network to an unlabelled recording.

Tracking and bundle adjustment give poses and sparse depth of keyframes. The network is fine-tuned
on that depth, on the consistency of its own depth between neighbouring keyframes, and on a tether
to its depth before. The end of the recording is held out: it decides when to stop and whether the
result is better at all.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.config import Options, option
from infinitevggt_core.model import geometry
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.training.clip import Clip
from infinitevggt_core.training.config import LossConfig, OptimizerConfig, StudentConfig
from infinitevggt_core.training.losses import masked_mean, pose_loss
from infinitevggt_core.training.optimizer import (
    Ema,
    build_optimizers,
    clip_gradients,
    learning_rate,
    set_learning_rate,
)
from infinitevggt_core.training.rendered_sequence import jittered, mirrored
from infinitevggt_core.training.student import Student
from infinitevggt_core.training.targets import Outputs, relative_to_first

FEWEST_KEYFRAMES = 12
OCCLUDED = 0.25
"""Log depth ratio between two views above which a pixel counts as occluded."""
STRIDE_PX = 4
"""Distance of the pixels that are compared between two views."""


class AdaptationError(ValueError):
    """The recording is unsuitable, or the adapted network is no better."""


@dataclass(frozen=True, slots=True)
class AdaptConfig(Options):
    """Settings of an adaptation."""

    steps: int = option(240, "maximum number of steps", unit="steps", low=1, high=100_000)
    lr: float = option(3e-4, "learning rate", low=0, high=1)
    clips: int = option(2, "clips per step", low=1, high=100)
    frames: int = option(5, "keyframes per clip", low=2, high=100)
    held_out: float = option(
        0.2, "share of the keyframes, at the end, that judges the result", low=0.05, high=0.5
    )
    judge_every: int = option(20, "steps between two judgements", unit="steps", low=1, high=10_000)
    patience: int = option(4, "judgements without improvement before stopping", low=1, high=1000)
    least_gain: float = option(
        0.03, "minimum relative improvement of the held-out error", low=0, high=1
    )
    consistency: float = option(0.5, "weight of the consistency between keyframes", low=0, high=100)
    tether: float = option(0.1, "weight of the depth before the adaptation", low=0, high=100)
    pose: float = option(1.0, "weight of the tracked poses", low=0, high=100)
    seed: int = option(0, "seed of the clips", low=0, high=2**31 - 1)


@dataclass(frozen=True, slots=True)
class Recording:
    """N keyframes of a tracked recording, in order, at the network's image size."""

    images: Tensor
    """[N, 3, H, W], RGB in [0, 1]."""
    depth: Tensor
    """[N, H, W], along the optical axis in the tracker's unit; 0 where unknown."""
    weight: Tensor
    """[N, H, W], relative weight of the depth; 0 where unknown."""
    camera_from_world: Tensor
    """[N, 3, 4]."""
    intrinsics: Tensor
    """[N, 3, 3], pixels."""
    submap: Tensor
    """[N], number of the unbroken piece of the trajectory. Units differ between pieces."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice) -> "Recording":
        return Recording(**{name: getattr(self, name)[which] for name in Recording.__slots__})

    def starts(self, span: int) -> list[int]:
        """Return the keyframes from which `span` keyframes lie in one submap."""
        last = len(self) - span + 1
        return [k for k in range(last) if self.submap[k] == self.submap[k + span - 1]]

    def clip(self, indices: Tensor) -> tuple[Clip, Tensor]:
        """Return a clip [1, S, ...] of some keyframes and its weights [1, S, H, W]."""
        clip = Clip(
            self.images[indices][None],
            self.depth[indices][None],
            self.camera_from_world[indices][None],
            self.intrinsics[indices][None],
        )
        return clip, self.weight[indices][None]


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Result of an adaptation."""

    before: float
    """Held-out AbsRel at tracked points before the adaptation."""
    after: float
    steps: int
    """Number of steps of the returned weights."""
    model: VGGT


def adapt(
    model: VGGT,
    recording: Recording,
    config: AdaptConfig,
    progress: Callable[[int, float, float], object] = lambda step, before, now: None,
) -> Adaptation:
    """Fine-tune a copy of `model` and return the best one by the held-out keyframes.

    progress: called after each judgement with the step, the first and the present error. Raises
    AdaptationError if there are too few keyframes or if the result is no better.
    """
    split = len(recording) - max(config.frames, round(config.held_out * len(recording)))
    training, held_out = recording[slice(0, split)], recording[slice(split, None)]
    usable = training.starts(config.frames)
    if len(recording) < FEWEST_KEYFRAMES or not usable or not held_out.starts(2):
        raise AdaptationError(
            f"{len(recording)} keyframes are too few to adapt: at least {FEWEST_KEYFRAMES} of one "
            "unbroken trajectory are needed"
        )
    teacher = deepcopy(model).requires_grad_(False).eval()
    learned = deepcopy(model).requires_grad_(True)
    frozen = StudentConfig(freeze_patch_embedding=model.config.patch_embed != "conv")
    student = Student(learned, frozen, points=False)
    schedule = OptimizerConfig(steps=config.steps, lr=config.lr, warmup_steps=10, weight_decay=0)
    optimizers = build_optimizers(student, schedule)
    ema = Ema(learned, decay=0.95)
    rng = np.random.default_rng(config.seed)
    before = best = judge(teacher, held_out, config.frames)
    found, found_at, since = deepcopy(model), 0, 0
    for step in range(1, config.steps + 1):
        set_learning_rate(optimizers.values(), learning_rate(step - 1, schedule))
        loss = torch.stack(
            [_clip_loss(student, teacher, training, config, rng) for _ in range(config.clips)]
        ).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(student.parts(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        ema.update(student.model, step)
        if step % config.judge_every and step < config.steps:
            continue
        error = judge(ema.model, held_out, config.frames)
        progress(step, before, error)
        since += 1
        if error < best:
            best, found_at, since = error, step, 0
            found.load_state_dict(ema.model.state_dict())
        if since >= config.patience:
            break
    if best > (1 - config.least_gain) * before:
        raise AdaptationError(
            f"the adapted network is no better: error {best:.3f} of held-out depth after "
            f"{before:.3f}"
        )
    return Adaptation(before, best, found_at, found.eval())


@torch.no_grad()
def judge(model: VGGT, recording: Recording, frames: int) -> float:
    """Return the weighted AbsRel at tracked points, with one scale per clip of `frames`."""
    errors, weights = [], []
    for start in range(0, len(recording), frames):
        piece = recording[slice(start, start + frames)]
        piece = piece[slice(0, int((piece.submap == piece.submap[0]).sum()))]
        clip, weight = piece.clip(torch.arange(len(piece)))
        predicted = model(clip.images.to(model.device), "causal", points=False).depth.cpu()
        if clip.depth is None or not (clip.depth > 0).any():
            continue
        unit = torch.exp(_log_unit(predicted, clip.depth, weight))
        known = clip.depth > 0
        error = (predicted * unit[:, None, None, None] / clip.depth.clamp(min=1e-9) - 1).abs()
        errors.append((error * weight)[known].sum())
        weights.append(weight[known].sum())
    if not errors:
        raise AdaptationError("the held-out part of the recording has no tracked points")
    return float(torch.stack(errors).sum() / torch.stack(weights).sum())


def _clip_loss(
    student: Student, teacher: VGGT, recording: Recording, config: AdaptConfig,
    rng: np.random.Generator,
) -> Tensor:  # fmt: skip
    clip, weight = _draw(recording, config.frames, rng)
    device = student.model.device
    clip, weight = clip.to(device), weight.to(device)
    with torch.no_grad():
        taught = teacher(clip.images, "causal", points=False).depth
    clip = Clip(jittered(clip.images[0], rng)[None], clip.depth, clip.camera_from_world,
                clip.intrinsics)  # fmt: skip
    outputs: Outputs = student(clip.images)
    if clip.depth is None or clip.camera_from_world is None or clip.intrinsics is None:
        raise ValueError("clips of a recording have labels")
    log_unit = _log_unit(outputs.depth.detach(), clip.depth, weight)
    unit = log_unit.exp()
    depth, known = outputs.depth, clip.depth > 0
    wanted = clip.depth / unit[:, None, None, None]
    relative = (depth.clamp(min=1e-6).log() - wanted.clamp(min=1e-6).log()).abs()
    sure = outputs.depth_confidence
    calibrated = sure * (depth - wanted).abs() - LossConfig().confidence_alpha * sure.log()
    sparse = masked_mean(weight * (relative + calibrated), known)
    change = (depth.clamp(min=1e-6) / taught.clamp(min=1e-6)).log()
    change = change - change.flatten(1).median(1).values[:, None, None, None]
    poses = relative_to_first(clip.camera_from_world)
    poses = torch.cat((poses[..., :3], poses[..., 3:] / unit.view(-1, 1, 1, 1)), dim=-1)
    height, width = depth.shape[-2:]
    encoding = geometry.encode_pose(poses, clip.intrinsics, height, width)
    total: Tensor = (
        sparse
        + config.tether * change.abs().mean()
        + config.consistency * consistency_loss(depth, poses, clip.intrinsics)
        + config.pose * pose_loss(outputs.poses, encoding, LossConfig())
    )
    return total


def _draw(recording: Recording, frames: int, rng: np.random.Generator) -> tuple[Clip, Tensor]:
    """Draw a clip of neighbouring keyframes: forwards or backwards, mirrored or not."""
    stride = int(rng.integers(1, 4))
    starts = recording.starts((frames - 1) * stride + 1)
    if not starts:
        stride, starts = 1, recording.starts(frames)
    indices = starts[int(rng.integers(len(starts)))] + stride * torch.arange(frames)
    if rng.random() < 0.5:
        indices = indices.flip(0)
    clip, weight = recording.clip(indices)
    if rng.random() < 0.5:
        of_weight = mirrored(Clip(clip.images, weight, clip.camera_from_world, clip.intrinsics))
        clip, weight = mirrored(clip), of_weight.depth if of_weight.depth is not None else weight
    return clip, weight


def _log_unit(depth: Tensor, tracked: Tensor, weight: Tensor) -> Tensor:
    """Return [B], the log of tracker units per unit of the network: the weighted median ratio."""
    units = []
    for found, wanted, trust in zip(depth, tracked, weight, strict=True):
        known = wanted > 0
        ratios, order = (wanted[known] / found[known].clamp(min=1e-6)).log().sort()
        below = trust[known][order].cumsum(0)
        place = torch.searchsorted(below, below[-1:] / 2) if len(below) else None
        units.append(ratios[place][0] if place is not None else found.new_zeros(()))
    return torch.stack(units)


def consistency_loss(depth: Tensor, camera_from_world: Tensor, intrinsics: Tensor) -> Tensor:
    """Return the mean log difference of depth between each frame and the next one.

    depth: (B, S, H, W); camera_from_world: (B, S, 3, 4), its unit; intrinsics: (B, S, 3, 3).
    Pixels that leave the image or look occluded are ignored.
    """
    height, width = depth.shape[-2:]
    points = geometry.world_points(depth, camera_from_world, intrinsics)[:, :-1]
    points = points[:, :, ::STRIDE_PX, ::STRIDE_PX].flatten(2, 3)
    pose = camera_from_world[:, 1:]
    seen = points @ pose[..., :3].transpose(-1, -2) + pose[..., 3][:, :, None]
    z = seen[..., 2]
    pixels = seen @ intrinsics[:, 1:].transpose(-1, -2)
    pixels = pixels[..., :2] / z.clamp(min=1e-3)[..., None]
    size = depth.new_tensor((width, height))
    inside = (z > 1e-3) & ((pixels > 0) & (pixels < size - 1)).all(-1)
    grid = (2 * pixels + 1) / size - 1
    other = F.grid_sample(
        depth[:, 1:].flatten(0, 1)[:, None], grid.flatten(0, 1)[:, :, None], align_corners=False
    )
    other = other.view(*z.shape).clamp(min=1e-6)
    difference = (z.clamp(min=1e-6).log() - other.log()).abs()
    return masked_mean(difference, inside & (difference < OCCLUDED))
