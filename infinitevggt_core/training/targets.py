# SPDX-License-Identifier: Apache-2.0
"""Outputs of the network in training and their targets."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infinitevggt_core.model import geometry
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.training.clip import Clip, known_depth
from infinitevggt_core.training.schedule import FrameSubset

LEAST_SCALE = 1e-3


@dataclass(frozen=True, slots=True)
class Targets:
    """Labels in the world of the first camera."""

    pose_encoding: Tensor
    """[B, S, 9], as `Prediction.pose_encoding`."""
    depth: Tensor
    """[B, S, H, W]; 0 where not valid."""
    points: Tensor
    """[B, S, H, W, 3], world; 0 where not valid."""
    valid: Tensor
    """[B, S, H, W] bool, True where the labels are known."""
    scale: Tensor
    """[B]: metres, or units of the teacher, per unit of the labels."""
    depth_confidence: Tensor | None = None
    """[B, S, H, W], present with a teacher only."""
    points_confidence: Tensor | None = None
    """[B, S, H, W], present with a teacher only."""

    def maps_of(self, frames: tuple[int, ...]) -> "Targets":
        """Return the targets with the maps of some frames only; poses keep all frames."""
        if len(frames) == self.depth.shape[1]:
            return self
        names = ("depth", "points", "valid", "depth_confidence", "points_confidence")
        maps = {name: getattr(self, name) for name in names}
        return replace(self, **{n: m[:, list(frames)] for n, m in maps.items() if m is not None})


def targets_of(clip: Clip) -> Targets | None:
    """Return the labels of a clip, or None if it has none.

    The first camera defines the world, and the mean distance of the points in its image is 1. VGGT
    (section 3.4) uses the points of all frames; a stream must fix its unit of length before it sees
    them.
    """
    if clip.depth is None or clip.camera_from_world is None or clip.intrinsics is None:
        return None
    height, width = clip.depth.shape[-2:]
    valid = known_depth(clip.depth)
    depth = torch.where(valid, clip.depth, 0.0).float()
    poses = relative_to_first(clip.camera_from_world.float())
    intrinsics = clip.intrinsics.float()
    points = geometry.world_points(depth, poses, intrinsics) * valid[..., None]
    scale = mean_distance(points[:, :1], valid[:, :1])
    poses = torch.cat((poses[..., :3], poses[..., 3:] / scale.view(-1, 1, 1, 1)), dim=-1)
    encoding = geometry.encode_pose(poses, intrinsics, height, width)
    return Targets(
        encoding, depth / scale.view(-1, 1, 1, 1), points / scale.view(-1, 1, 1, 1, 1), valid, scale
    )


def targets_of_teacher(prediction: Prediction) -> Targets:
    """Return a teacher's outputs as targets. They have the same scale convention."""
    if prediction.points is None:
        raise ValueError("a teacher needs its point head: call it with points=True")
    valid = known_depth(prediction.depth) & prediction.points.isfinite().all(-1)
    return Targets(
        pose_encoding=prediction.pose_encoding,
        # not finite times 0 would reach the gradients
        depth=torch.where(valid, prediction.depth, 0.0),
        points=torch.where(valid[..., None], prediction.points, 0.0),
        valid=valid,
        scale=prediction.depth.new_ones(len(prediction.depth)),
        depth_confidence=prediction.depth_confidence,
        points_confidence=prediction.points_confidence,
    )


def relative_to_first(camera_from_world: Tensor) -> Tensor:
    """Return poses [B, S, 3, 4] relative to the first camera of each clip."""
    world_from_first = geometry.invert(camera_from_world[:, :1])
    rotation = camera_from_world[..., :3] @ world_from_first[..., :3]
    translation = (
        camera_from_world[..., :3] @ world_from_first[..., 3:] + camera_from_world[..., 3:]
    )
    return torch.cat((rotation, translation), dim=-1)


def mean_distance(points: Tensor, valid: Tensor) -> Tensor:
    """Return [B], the mean distance of valid points (B, S, H, W, 3) of each clip from the
    origin."""
    lengths = (points.norm(dim=-1) * valid).flatten(1).sum(1)
    mean: Tensor = lengths / valid.flatten(1).sum(1).clamp(min=1)
    return mean.clamp(min=LEAST_SCALE)


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs as in `Prediction`, with [B, F, ...] for dense maps, and all refinements of the
    pose."""

    poses: tuple[Tensor, ...]
    """Four tensors [B, S, 9]; the last one is the result."""
    subset: FrameSubset
    """Subset of frames with dense maps; F of them."""
    depth: Tensor
    depth_confidence: Tensor
    points: Tensor | None
    points_confidence: Tensor | None
    tracks: tuple[Tensor, ...] = ()
    """Per level [B, S, patches, 8], see correspondence.py."""
    matches: tuple[Tensor, ...] = ()
    """Per global layer [B, heads / 2, S - 1 - reference, patches, patches], see
    correspondence.py."""
