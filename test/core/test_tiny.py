# SPDX-License-Identifier: Apache-2.0
"""The shipped checkpoint predicts geometry, and every broken convention spoils it."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, StreamSession, load_checkpoint
from infinitevggt_core.evaluation import DepthSample, trajectory_errors
from infinitevggt_core.model.checkpoint import SHIPPED
from infinitevggt_core.model.geometry import invert
from infinitevggt_core.worlds import World

SEEDS = (10_000, 10_002)
FRAMES = range(0, 200, 8)
HEIGHT_WIDTH = (84, 112)


@dataclass(frozen=True)
class Film:
    """A sequence in a room with its ground truth."""

    images: Tensor
    """(N, 3, H, W)."""
    depth: Tensor
    """(N, H, W), m."""
    camera_from_world: Tensor
    """(N, 3, 4)."""


@pytest.fixture(scope="module")
def tiny() -> VGGT:
    return load_checkpoint("tiny")


@pytest.fixture(scope="module", params=SEEDS)
def film(request: pytest.FixtureRequest) -> Film:
    clip = World(request.param, "easy").render(FRAMES, *HEIGHT_WIDTH)
    return Film(clip.images, clip.depth, clip.camera_from_world)


def is_good(model: VGGT, film: Film) -> bool:
    """Return True for rotations twice as good as a static camera's and depth better than a
    constant."""
    session, depth, poses = StreamSession(model, MemoryConfig()), DepthSample(2000), []
    for image, true_depth in zip(film.images, film.depth, strict=True):
        prediction = session.push(image)
        poses.append(prediction.camera_from_world[0].double().numpy())
        depth.add(prediction.depth[0].numpy(), true_depth.numpy())
    truth = film.camera_from_world.double().numpy()
    path = trajectory_errors(np.stack(poses), truth)
    still = trajectory_errors(np.broadcast_to(np.eye(3, 4), truth.shape), truth)
    return (
        path.rotation_deg_median < still.rotation_deg_median / 2
        and depth.errors().absrel < 0.7 * depth.trivial().absrel
    )


def test_rooms_never_trained_on_are_understood(tiny: VGGT, film: Film) -> None:
    assert is_good(tiny, film)


def test_mirrored_images_are_noticed(tiny: VGGT, film: Film) -> None:
    mirrored = Film(film.images.flip(-1), film.depth.flip(-1), film.camera_from_world)
    assert not is_good(tiny, mirrored)


def test_inverse_poses_are_noticed(tiny: VGGT, film: Film) -> None:
    assert not is_good(tiny, Film(film.images, film.depth, invert(film.camera_from_world)))


def test_transposed_rotations_are_noticed(tiny: VGGT, film: Film) -> None:
    rotation, translation = film.camera_from_world.split((3, 1), dim=-1)
    transposed = torch.cat((rotation.mT, translation), dim=-1)
    assert not is_good(tiny, Film(film.images, film.depth, transposed))


def test_upside_down_depth_is_noticed(tiny: VGGT, film: Film) -> None:
    assert not is_good(tiny, Film(film.images, film.depth.flip(-2), film.camera_from_world))


def test_a_stream_equals_the_batch(tiny: VGGT, film: Film) -> None:
    session = StreamSession(tiny, MemoryConfig(policy="full"))
    images = film.images[:8]
    streamed = [session.push(image) for image in images]
    with torch.no_grad():
        batch = tiny(images[None], attention="causal")
    for name in ("depth", "camera_from_world"):
        together = torch.cat([getattr(prediction, name) for prediction in streamed])
        torch.testing.assert_close(together, getattr(batch, name)[0], atol=1e-3, rtol=1e-3)


def test_it_stays_small_and_knows_its_size(tiny: VGGT) -> None:
    assert SHIPPED["tiny"].stat().st_size <= 15e6
    assert tiny.config.img_size == HEIGHT_WIDTH[1]
