# SPDX-License-Identifier: Apache-2.0
"""Labels of tracked keyframes against the true depth of a synthetic world."""

import numpy as np
import pytest
import torch

from infinitevggt_core import preprocess
from infinitevggt_core.training.adaptation import AdaptationError, Recording
from infinitevggt_core.training.tracked_recording import TrackedRecording
from infinitevggt_core.worlds import World, WorldClips, WorldConfig

FRAMES = 100
SIZE = (56, 84)
"""Height, width of the network's image, px."""


@pytest.fixture(scope="module")
def world() -> WorldClips:
    config = WorldConfig.of("easy", motion="drone", step_m=0.04)
    return World(10_003, config=config).render(range(FRAMES), 120, 160)


@pytest.fixture(scope="module")
def recording(world: WorldClips) -> Recording:
    tracked = TrackedRecording()
    for image, matrix in zip(world.images, world.intrinsics, strict=True):
        rgb = np.ascontiguousarray((image.permute(1, 2, 0).numpy() * 255).astype(np.uint8))
        pixels, pixel_map = preprocess(rgb, SIZE[1])
        tracked.add(rgb, matrix.numpy(), pixels, pixel_map)
    return tracked.finish()


def test_tracked_depth_is_the_true_one_up_to_a_unit(
    world: WorldClips, recording: Recording
) -> None:
    assert len(recording) >= 4
    for k in range(len(recording)):
        # the frame of the keyframe is found by its image
        small = torch.nn.functional.interpolate(world.images, SIZE, mode="area")
        frame = int((small - recording.images[k]).abs().mean((1, 2, 3)).argmin())
        known = recording.depth[k] > 0
        assert known.sum() > 50
        assert (recording.weight[k] > 0).equal(known)
        row, column = known.nonzero(as_tuple=True)
        at_row = ((row + 0.5) * 120 / SIZE[0]).long()
        at_column = ((column + 0.5) * 160 / SIZE[1]).long()
        true = world.depth[frame, at_row, at_column]
        ratio = recording.depth[k][known] / true
        assert ((ratio / ratio.median() - 1).abs() < 0.15).float().mean() > 0.75


def test_intrinsics_are_those_of_the_network_image(world: WorldClips, recording: Recording) -> None:
    scale = SIZE[1] / 160
    torch.testing.assert_close(
        recording.intrinsics[0, 0, 0], world.intrinsics[0, 0, 0].float() * scale, rtol=1e-4, atol=0
    )
    assert recording.intrinsics[0, 0, 2] == pytest.approx(SIZE[1] / 2, abs=1)


def test_a_camera_that_stands_still_gives_no_keyframes(world: WorldClips) -> None:
    tracked = TrackedRecording()
    rgb = np.ascontiguousarray((world.images[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    pixels, pixel_map = preprocess(rgb, SIZE[1])
    for _ in range(5):
        tracked.add(rgb, world.intrinsics[0].numpy(), pixels, pixel_map)
    with pytest.raises(AdaptationError, match="no keyframes in 5 images"):
        tracked.finish()
