# SPDX-License-Identifier: Apache-2.0
"""Multi-task loss of VGGT (arXiv 2503.11651, section 3.4) and distillation from a teacher
(StreamVGGT, arXiv 2507.11539), in fp32."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.training.config import LossConfig
from infinitevggt_core.training.correspondence import matching_loss, place_loss, track_loss
from infinitevggt_core.training.targets import Outputs, Targets

LEAST_DEPTH = 0.01
"""Lower bound of depth before the logarithm, relative to the mean distance in the first image."""


def task_loss(outputs: Outputs, targets: Targets, config: LossConfig) -> dict[str, Tensor]:
    """Return the weighted parts of the loss against labels; their sum is the loss."""
    targets = targets.maps_of(outputs.subset.dense)
    found, wanted = outputs.depth, targets.depth
    if config.log_depth:
        found, wanted = (depth.clamp(min=LEAST_DEPTH).log() for depth in (found, wanted))
    depth = regression_loss(
        found[..., None], outputs.depth_confidence, wanted[..., None], targets, config
    )
    parts = {
        "pose": config.pose_weight * pose_loss(outputs.poses, targets.pose_encoding, config),
        "depth": config.depth_weight * depth,
    }
    if outputs.points is not None and outputs.points_confidence is not None:
        points = regression_loss(
            outputs.points, outputs.points_confidence, targets.points, targets, config
        )
        parts["points"] = config.points_weight * points
    return parts


def dense_loss(
    outputs: Outputs, targets: Targets, config: LossConfig, patch_size: int
) -> dict[str, Tensor]:
    """Return the weighted parts of the loss on correspondences between frames. Needs exact
    labels."""
    parts = {}
    if outputs.tracks:
        parts["tracks"] = config.track_weight * track_loss(outputs.tracks, targets, patch_size)
        parts["places"] = config.place_weight * place_loss(outputs.tracks, targets, patch_size)
    if outputs.matches:
        matching = matching_loss(outputs.matches, targets, patch_size, outputs.subset.reference)
        parts["matching"] = config.matching_weight * matching
    return parts


def distill_loss(outputs: Outputs, teacher: Targets, config: LossConfig) -> dict[str, Tensor]:
    """Return the weighted parts of the loss against a teacher's outputs, times lambda.

    Pixels count by the teacher's confidence, and the student learns that confidence.
    """
    teacher = teacher.maps_of(outputs.subset.dense)
    if teacher.depth_confidence is None or teacher.points_confidence is None:
        raise ValueError("these targets are no teacher's: they have no confidence")
    depth = imitation_loss(
        outputs.depth[..., None],
        outputs.depth_confidence,
        teacher.depth[..., None],
        teacher.depth_confidence,
        teacher.valid,
        config,
    )
    parts = {
        "teacher_pose": config.pose_weight
        * pose_loss(outputs.poses, teacher.pose_encoding, config),
        "teacher_depth": config.depth_weight * depth,
    }
    if outputs.points is not None and outputs.points_confidence is not None:
        points = imitation_loss(
            outputs.points,
            outputs.points_confidence,
            teacher.points,
            teacher.points_confidence,
            teacher.valid,
            config,
        )
        parts["teacher_points"] = config.points_weight * points
    return {name: config.distill_weight * part for name, part in parts.items()}


def pose_loss(refinements: Sequence[Tensor], encoding: Tensor, config: LossConfig) -> Tensor:
    """Return the mean over frames of the pose errors, a weighted mean over the refinements (B, S,
    9).

    The last refinement has the highest weight.
    """
    weights = [config.refinement_decay**i for i in reversed(range(len(refinements)))]
    losses = [_pose_error(pose, encoding, config) for pose in refinements]
    total = torch.stack([w * loss for w, loss in zip(weights, losses, strict=True)]).sum()
    return total / sum(weights)


def _pose_error(pose: Tensor, encoding: Tensor, config: LossConfig) -> Tensor:
    target_quat = encoding[..., 3:7]
    # q and -q are the same rotation: the nearer one is the target
    sign = torch.where((pose[..., 3:7].detach() * target_quat).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    difference = pose - torch.cat((encoding[..., :3], sign * target_quat, encoding[..., 7:]), -1)
    error = F.smooth_l1_loss(
        difference, torch.zeros_like(difference), reduction="none", beta=config.pose_huber
    )
    return (
        config.translation_weight * error[..., :3].sum(-1)
        + config.rotation_weight * error[..., 3:7].sum(-1)
        + config.fov_weight * error[..., 7:].sum(-1)
    ).mean()


def regression_loss(
    values: Tensor, confidence: Tensor, wanted: Tensor, targets: Targets, config: LossConfig
) -> Tensor:
    """Return confidence * error - alpha * log(confidence) plus the gradient loss, mean over valid
    pixels.

    values, wanted: (B, S, H, W, C); confidence: (B, S, H, W).
    """
    difference = values - wanted
    weighted = confidence * difference.norm(dim=-1)
    reward = config.confidence_alpha * confidence.log()
    gradient = gradient_loss(difference, targets.valid, confidence, config.gradient_scales)
    return masked_mean(weighted - reward, targets.valid) + config.gradient_weight * gradient


def imitation_loss(
    values: Tensor,
    confidence: Tensor,
    wanted: Tensor,
    wanted_confidence: Tensor,
    valid: Tensor,
    config: LossConfig,
) -> Tensor:
    """Return the error and its gradient, weighted by the teacher's confidence (of mean 1), plus
    the distance of the log confidences. Shapes as in `regression_loss`."""
    trust = wanted_confidence / masked_mean(wanted_confidence, valid)
    difference = values - wanted
    gradient = gradient_loss(difference, valid, trust, config.gradient_scales)
    sureness = (confidence.log() - wanted_confidence.log()).abs()
    error = masked_mean(trust * difference.norm(dim=-1), valid)
    return (
        error
        + config.gradient_weight * gradient
        + config.confidence_alpha * masked_mean(sureness, valid)
    )


def gradient_loss(difference: Tensor, valid: Tensor, weight: Tensor, scales: int) -> Tensor:
    """Return the mean over 1, 2, 4 ... px of the weighted difference between valid neighbours.

    difference: (B, S, H, W, C), prediction minus target; valid, weight: (B, S, H, W).
    """
    total = difference.new_zeros(())
    for step in (2**i for i in range(scales)):
        d, v, w = (x[:, :, ::step, ::step] for x in (difference, valid, weight))
        for axis in (2, 3):
            if d.shape[axis] > 1:
                both = _later(v, axis) & _earlier(v, axis)
                change = (_later(d, axis) - _earlier(d, axis)).norm(dim=-1)
                total = total + masked_mean(change * _earlier(w, axis), both)
    return total / scales


def _later(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 1, x.shape[axis] - 1)


def _earlier(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean where `mask` is True, or 0 if it never is."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
