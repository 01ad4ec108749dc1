# SPDX-License-Identifier: Apache-2.0
"""Adaptation to an unlabelled recording: losses, the held-out judge and its refusals."""

from dataclasses import replace

import pytest
import torch

from infinitevggt_core import VGGT
from infinitevggt_core.training.adaptation import (
    AdaptationError,
    AdaptConfig,
    Recording,
    adapt,
    consistency_loss,
    judge,
)
from infinitevggt_core.training.targets import relative_to_first
from support.room_clips import room_clip
from support.runs import small_student

KEYFRAMES = 20
UNIT = 0.3
"""Metres per unit of the tracker."""


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Every eleventh pixel of a room is tracked."""
    clip = room_clip(1, KEYFRAMES)
    assert clip.depth is not None
    assert clip.camera_from_world is not None
    assert clip.intrinsics is not None
    depth = clip.depth[0] / UNIT
    tracked = (torch.arange(depth.numel()) % 11 == 0).view_as(depth)
    poses = clip.camera_from_world[0].clone()
    poses[..., 3] /= UNIT
    return Recording(
        clip.images[0], depth * tracked, tracked.float(), poses, clip.intrinsics[0],
        torch.zeros(KEYFRAMES),
    )  # fmt: skip


@pytest.fixture(scope="module")
def network() -> VGGT:
    return small_student(0)


def test_the_error_of_held_out_keyframes_falls(network: VGGT, recording: Recording) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seen: list[tuple[int, float]] = []
    config = AdaptConfig(steps=30, lr=3e-3, judge_every=10, frames=4, tether=0.0)
    result = adapt(network, recording, config, lambda step, _, error: seen.append((step, error)))
    assert result.after < 0.97 * result.before
    assert result.after == min(error for _, error in seen)
    held_out = recording[slice(KEYFRAMES - 4, None)]
    assert judge(result.model, held_out, 4) == pytest.approx(result.after)
    for name, value in network.state_dict().items():  # the given network stays as it was
        torch.testing.assert_close(value, before[name])


def test_a_network_that_is_no_better_is_refused(network: VGGT, recording: Recording) -> None:
    with pytest.raises(AdaptationError, match="no better"):
        adapt(network, recording, AdaptConfig(steps=1, lr=0.0))


def test_a_short_or_broken_recording_is_refused(network: VGGT, recording: Recording) -> None:
    with pytest.raises(AdaptationError, match="6 keyframes are too few"):
        adapt(network, recording[slice(0, 6)], AdaptConfig())
    broken = replace(recording, submap=torch.arange(KEYFRAMES))
    with pytest.raises(AdaptationError, match="unbroken"):
        adapt(network, broken, AdaptConfig())


def test_the_judge_ignores_the_unit_of_the_tracker(network: VGGT, recording: Recording) -> None:
    other = replace(recording, depth=recording.depth * 7)
    assert judge(network, other, 4) == pytest.approx(judge(network, recording, 4), rel=1e-4)


def test_depth_without_fault_is_consistent_between_frames() -> None:
    clip = room_clip(2, 3)
    assert clip.depth is not None
    assert clip.camera_from_world is not None
    assert clip.intrinsics is not None
    poses = relative_to_first(clip.camera_from_world)
    exact = consistency_loss(clip.depth, poses, clip.intrinsics)
    bent = clip.depth * torch.linspace(0.9, 1.1, clip.depth.shape[-1])
    assert exact < 0.02
    assert consistency_loss(bent, poses, clip.intrinsics) > exact
