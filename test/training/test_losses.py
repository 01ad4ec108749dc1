# SPDX-License-Identifier: Apache-2.0
"""Losses against values worked out by hand, and their invariances."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from infinitevggt_core import Prediction
from infinitevggt_core.model.geometry import camera_from_world, world_points
from infinitevggt_core.training.clip import Clip
from infinitevggt_core.training.correspondence import (
    match_scores,
    matching_loss,
    patch_places,
    patch_shifts,
    place_loss,
    track_loss,
    wanted_matches,
)
from infinitevggt_core.training.losses import (
    LossConfig,
    distill_loss,
    gradient_loss,
    pose_loss,
    regression_loss,
    task_loss,
)
from infinitevggt_core.training.schedule import FrameSubset
from infinitevggt_core.training.targets import Outputs, Targets, targets_of, targets_of_teacher
from support.room_clips import room_clip
from support.runs import small_student

L1 = LossConfig(pose_huber=0.0, gradient_weight=0.0)


def targets_with(depth: Tensor, valid: Tensor | None = None) -> Targets:
    """Return targets with depth (B, S, H, W) alone."""
    valid = torch.ones_like(depth, dtype=torch.bool) if valid is None else valid
    pose = torch.zeros(*depth.shape[:2], 9)
    return Targets(pose, depth, depth[..., None].expand(*depth.shape, 3), valid, torch.ones(1))


def room_targets() -> Targets:
    targets = targets_of(room_clip(batch=2))
    assert targets is not None
    return targets


def perfect(targets: Targets, confidence: float = 2.0) -> Outputs:
    sure = torch.full_like(targets.depth, confidence)
    subset = FrameSubset.whole(targets.depth.shape[1])
    return Outputs((targets.pose_encoding,) * 4, subset, targets.depth, sure, targets.points, sure)


def test_pose_loss_weighs_translation_rotation_and_field_of_view() -> None:
    truth = torch.tensor([0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 1.0, 1.0, 1.2]).view(1, 1, 9)
    guess = truth + torch.tensor([0.5, 0, 0, 0, 0, 0.25, 0, 0, -0.1]).view(1, 1, 9)
    config = replace(L1, translation_weight=2.0, rotation_weight=4.0, fov_weight=10.0)
    assert pose_loss([guess], truth, config).item() == pytest.approx(2 * 0.5 + 4 * 0.25 + 10 * 0.1)


def test_pose_loss_is_quadratic_below_the_huber_limit() -> None:
    truth = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1, 1]).view(1, 1, 9)
    small, large = truth.clone(), truth.clone()
    small[..., 0], large[..., 0] = 0.01, 0.5
    config = replace(L1, pose_huber=0.1)
    assert pose_loss([small], truth, config).item() == pytest.approx(0.5 * 0.01**2 / 0.1)
    assert pose_loss([large], truth, config).item() == pytest.approx(0.5 - 0.05)


def test_pose_loss_averages_over_frames_and_weighs_later_refinements_more() -> None:
    truth = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1, 1]).expand(1, 2, 9)
    off = truth.clone()
    off[0, 0, 0] = 1.0  # one frame of two
    config = replace(L1, refinement_decay=0.5)
    assert pose_loss([off, truth], truth, config).item() == pytest.approx(0.5 * 0.5 / 1.5)
    assert pose_loss([truth, off], truth, config).item() == pytest.approx(0.5 * 1.0 / 1.5)


def test_a_quaternion_and_its_negative_are_the_same() -> None:
    targets = room_targets()
    negated = targets.pose_encoding.clone()
    negated[..., 3:7] *= -1
    assert pose_loss([negated], targets.pose_encoding, L1).item() == pytest.approx(0, abs=1e-6)


def test_regression_loss_by_hand() -> None:
    depth = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
    guess = torch.tensor([1.5, 2.0]).view(1, 1, 1, 2, 1)
    confidence = torch.tensor([2.0, 4.0]).view(1, 1, 1, 2)
    config = replace(L1, confidence_alpha=0.3)
    targets = targets_with(depth)
    want = (2 * 0.5 - 0.3 * math.log(2) - 0.3 * math.log(4)) / 2
    loss = regression_loss(guess, confidence, depth[..., None], targets, config)
    assert loss.item() == pytest.approx(want)


def test_errors_of_log_depth_are_alike_near_and_far_and_in_both_directions() -> None:
    targets = room_targets()
    outputs = perfect(targets, confidence=1.0)
    config = replace(LossConfig(), log_depth=True)
    assert task_loss(outputs, targets, config)["depth"].item() == 0
    for factor in (1.1, 1 / 1.1):  # a constant factor has no gradient
        off = replace(outputs, depth=outputs.depth * factor)
        loss = task_loss(off, targets, config)["depth"].item()
        assert loss == pytest.approx(math.log(1.1), rel=1e-3)
    off = replace(outputs, depth=outputs.depth * 1.1)
    mean = targets.depth[targets.valid].mean().item()
    assert task_loss(off, targets, L1)["depth"].item() == pytest.approx(0.1 * mean, rel=1e-3)


def test_pixels_that_are_not_valid_do_not_count() -> None:
    depth = torch.rand(1, 2, 4, 5) + 1
    valid = torch.rand(1, 2, 4, 5) > 0.4
    targets = targets_with(depth, valid)
    guess, confidence = torch.rand(1, 2, 4, 5, 1), torch.rand(1, 2, 4, 5) + 1
    elsewhere = torch.where(valid, 0.0, 1e6)

    def loss(extra: Tensor) -> float:
        values = guess + extra[..., None]
        return regression_loss(values, confidence, depth[..., None], targets, LossConfig()).item()

    assert loss(elsewhere) == pytest.approx(loss(torch.zeros(())))


def test_gradient_loss_by_hand_and_blind_to_a_constant() -> None:
    difference = torch.tensor([[0.0, 1.0], [0.0, 3.0]]).view(1, 1, 2, 2, 1)
    valid, weight = torch.ones(1, 1, 2, 2, dtype=torch.bool), torch.ones(1, 1, 2, 2)
    # rows: |0 - 0| and |3 - 1|; columns: |1 - 0| and |3 - 0|
    want = (0 + 2) / 2 + (1 + 3) / 2
    assert gradient_loss(difference, valid, weight, 1).item() == pytest.approx(want)
    assert gradient_loss(difference + 7, valid, weight, 1).item() == pytest.approx(want)


def test_targets_have_the_first_camera_as_world_and_mean_distance_one() -> None:
    targets = room_targets()
    identity = torch.tensor([0.0, 0, 0, 0, 0, 0, 1])
    torch.testing.assert_close(targets.pose_encoding[:, 0, :7], identity.expand(2, 7))
    first = targets.points[:, 0].norm(dim=-1)[targets.valid[:, 0]]
    lengths = first.view(2, -1).mean(1)
    torch.testing.assert_close(lengths, torch.ones(2))


def test_targets_fit_together() -> None:
    clip, targets = room_clip(batch=2), room_targets()
    assert clip.intrinsics is not None
    poses = camera_from_world(targets.pose_encoding)
    points = world_points(targets.depth, poses, clip.intrinsics)
    torch.testing.assert_close(points, targets.points, atol=1e-4, rtol=1e-4)


def test_the_unit_and_the_world_of_the_labels_do_not_matter() -> None:
    clip = room_clip(batch=2)
    assert clip.depth is not None
    assert clip.camera_from_world is not None
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    turn = turn * torch.linalg.det(turn).sign()
    poses = clip.camera_from_world
    moved = torch.cat(
        (
            poses[..., :3] @ turn,
            3.7 * (poses[..., 3:] + poses[..., :3] @ torch.tensor([[4.0], [5.0], [6.0]])),
        ),
        dim=-1,
    )
    targets = room_targets()
    other = targets_of(replace(clip, depth=3.7 * clip.depth, camera_from_world=moved))
    assert other is not None
    for name in ("pose_encoding", "depth", "points"):
        torch.testing.assert_close(
            getattr(other, name), getattr(targets, name), atol=2e-4, rtol=1e-4
        )
    torch.testing.assert_close(other.scale, 3.7 * targets.scale)


def test_labels_that_are_right_cost_nothing_but_confidence() -> None:
    targets = room_targets()
    parts = task_loss(perfect(targets), targets, LossConfig())
    assert parts["pose"].item() == pytest.approx(0, abs=1e-6)
    for name in ("depth", "points"):
        assert parts[name].item() == pytest.approx(-0.2 * math.log(2), abs=1e-5)


def test_a_mirrored_world_costs() -> None:
    targets = room_targets()
    pose = targets.pose_encoding.clone()
    pose[..., 0] *= -1
    mirrored = replace(
        perfect(targets), poses=(pose,), points=targets.points * torch.tensor([-1.0, 1, 1])
    )
    parts = task_loss(mirrored, targets, LossConfig())
    assert parts["pose"] > 1e-3
    assert parts["points"] > 0.1


def test_copying_the_teacher_costs_nothing() -> None:
    images = room_clip(batch=2).images
    with torch.no_grad():
        taught = targets_of_teacher(small_student(1)(images, "full"))
    assert taught.depth_confidence is not None
    copy = Outputs(
        (taught.pose_encoding,),
        FrameSubset.whole(3),
        taught.depth,
        taught.depth_confidence,
        taught.points,
        taught.points_confidence,
    )
    assert sum(distill_loss(copy, taught, LossConfig()).values()).item() == pytest.approx(
        0, abs=1e-5
    )
    doubled = LossConfig(distill_weight=2.0)
    other = replace(copy, depth=copy.depth * 1.1)
    once = distill_loss(other, taught, LossConfig())["teacher_depth"]
    torch.testing.assert_close(distill_loss(other, taught, doubled)["teacher_depth"], 2 * once)


def test_a_teacher_that_is_not_finite_somewhere_leaves_no_nan_in_the_gradient() -> None:
    depth = torch.rand(1, 2, 4, 4) + 1
    points = torch.rand(1, 2, 4, 4, 3)
    depth[0, 0, 0, 0] = torch.inf
    points[0, 1, 2, 2] = torch.nan
    sure = torch.full_like(depth, 2.0)
    taught = targets_of_teacher(Prediction(torch.rand(1, 2, 9), depth, sure, points, sure))
    guess = torch.rand(1, 2, 4, 4, requires_grad=True)
    outputs = Outputs((torch.rand(1, 2, 9),), FrameSubset.whole(2), guess, sure, None, None)
    sum(distill_loss(outputs, taught, LossConfig()).values()).backward()
    assert guess.grad is not None
    assert guess.grad.isfinite().all()


def test_patches_of_the_first_image_have_not_moved() -> None:
    targets = room_targets()
    shifts, known = patch_shifts(targets, 14)
    assert shifts.shape == (2, 3, 6, 2)
    assert known[:, 0].all()
    assert shifts[:, 0].abs().max() < 0.01 / 42
    assert shifts[:, 2].abs().max() > 0.01


def test_patch_shifts_are_where_the_first_camera_saw_the_point() -> None:
    clip, targets = room_clip(frames=4), targets_of(room_clip(frames=4))
    assert targets is not None
    assert clip.depth is not None
    assert clip.intrinsics is not None
    shifts, known = patch_shifts(targets, 14)
    assert known[0, 3, 0]
    point = targets.points[0, 3, 7, 7]
    matrix = clip.intrinsics[0, 0]
    pixel = matrix @ (point / point[2])
    want = (torch.tensor([7.0, 7.0]) - pixel[:2]) / 42
    torch.testing.assert_close(shifts[0, 3, 0], want, atol=0.6 / 42, rtol=0)


def test_knowing_the_shifts_costs_nothing() -> None:
    targets = room_targets()
    shifts, _ = patch_shifts(targets, 14)
    places, _ = patch_places(targets, 14)
    right = torch.cat((shifts, places), dim=-1)
    for loss in (track_loss, place_loss):
        assert loss((right, right), targets, 14).item() == pytest.approx(0, abs=1e-7)
    assert track_loss((right + 1, right), targets, 14).item() == pytest.approx(0.995, rel=1e-3)
    assert place_loss((right + 1, right), targets, 14).item() == pytest.approx(2.925, rel=1e-3)


def test_places_of_a_patch_are_in_the_world_and_before_its_camera() -> None:
    targets = room_targets()
    places, known = patch_places(targets, 14)
    assert known.all()
    torch.testing.assert_close(places[:, 0, :, :3], places[:, 0, :, 3:], atol=1e-5, rtol=1e-5)
    depth = targets.depth[:, :, 7::14, 7::14].flatten(2)
    torch.testing.assert_close(places[..., 5], depth, atol=1e-4, rtol=1e-4)


def test_patches_of_a_still_camera_match_themselves() -> None:
    still = room_clip(frames=3)
    images = Clip(
        **{name: tensor[:, :1].repeat_interleave(3, 1) for name, tensor in still.tensors().items()}
    )
    targets = targets_of(images)
    assert targets is not None
    wanted, known = wanted_matches(targets, 14)
    assert known.all()
    # half a pixel: the room's principal point is not the network's
    assert (wanted.diagonal(dim1=-2, dim2=-1) > 0.9).all()
    torch.testing.assert_close(wanted.sum(-1), torch.ones(1, 2, 6))


def test_attention_as_wanted_costs_nothing() -> None:
    targets = room_targets()
    wanted, _ = wanted_matches(targets, 14)
    right = wanted.clamp(min=1e-12).log()[:, None]
    assert matching_loss((right, right), targets, 14).item() == pytest.approx(0, abs=1e-5)
    assert matching_loss((torch.zeros_like(right),), targets, 14).item() > 0.3


def test_match_scores_are_the_attention_logits_of_half_of_the_heads() -> None:
    q, k = torch.randn(2, 1, 4, 33, 8).unbind(0)  # 3 frames of 5 special tokens and 6 patches
    scores = match_scores(q, k, 3)
    assert scores.shape == (1, 2, 2, 6, 6)
    want = (q[0, 1, 2 * 11 + 5 + 3] * k[0, 1, 5 + 4]).sum() / 8**0.5
    torch.testing.assert_close(scores[0, 1, 1, 3, 4], want)


def test_clips_without_labels_have_no_targets() -> None:
    assert targets_of(Clip(room_clip().images)) is None
