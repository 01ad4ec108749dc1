# SPDX-License-Identifier: Apache-2.0
"""The floor in the depth of worlds whose camera height is known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from infinitevggt_core.metric.floor import floor_distance
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_core.model import geometry
from infinitevggt_core.worlds import World, WorldFrame

DOWN = np.array((0.0, 0.0, -1.0))


def seen(frame: WorldFrame) -> tuple[np.ndarray, np.ndarray, float]:
    """Points in the camera's axes, the direction of gravity there, the camera's true height: the
    floor of all worlds is z = 0."""
    points = geometry.unproject(frame.depth.double(), frame.intrinsics).numpy()
    rotation, translation = np.split(frame.camera_from_world.numpy(), (3,), axis=1)
    return points, rotation @ DOWN, float((-rotation.T @ translation)[2, 0])


@pytest.mark.parametrize("seed", [10_000, 10_002, 10_005])
def test_heights_above_furnished_floors_make_the_scale(seed: int) -> None:
    """The unit is 0.4 m, the depth is wrong by 3 %, gravity by 4 degrees."""
    rng, scale = np.random.default_rng(seed), ScaleEstimate(5)
    tilt = Rotation.from_rotvec(np.deg2rad(4) * np.array((0.6, 0.0, 0.8))).as_matrix()
    for frame in World(seed, "standard").sequence(12, 84, 112):
        points, down, height = seen(frame)
        noise = 1 + 0.03 * rng.standard_normal((84, 112, 1))
        distance = floor_distance(points / 0.4 * noise, tilt @ down)
        if distance is not None:
            scale.add(height, distance)
    assert len(scale) >= 9
    assert scale.factor == pytest.approx(0.4, rel=0.03)


def room(height: float, table: float) -> np.ndarray:
    """(60, 80, 3) camera points: a level camera above a floor, and a table that fills more of the
    lower half; a wall 4 before it."""
    down, right = np.meshgrid(np.linspace(-0.8, 0.8, 60), np.linspace(-1, 1, 80), indexing="ij")
    with np.errstate(divide="ignore"):
        depth = np.where(down > 0, np.where(right < 0.4, table, height) / down, 4.0).clip(max=4)
    return np.stack((right * depth, down * depth, depth), axis=-1)


def test_a_table_is_not_the_floor() -> None:
    points = room(height=1.5, table=0.7)
    assert floor_distance(points, np.array((0, 1, 0))) == pytest.approx(1.5, rel=1e-6)


def test_unknown_depth_is_passed_over() -> None:
    points = room(height=1.5, table=1.5)
    points[::3, ::2] = np.nan
    points[50:, :20] = np.inf
    assert floor_distance(points, np.array((0, 1, 0))) == pytest.approx(1.5, rel=1e-6)


@pytest.mark.parametrize(
    ("down", "distance"), [((0, -1, 0), None), ((0, 0, 1), 4), ((1, 0, 0), None)]
)
def test_gravity_says_what_is_floor(down: tuple[int, int, int], distance: float | None) -> None:
    """To a camera that looks straight down, the wall before it is."""
    points = room(height=1.5, table=1.5)
    found = floor_distance(points, np.array(down))
    assert found == (distance if distance is None else pytest.approx(distance, rel=1e-6))
    assert floor_distance(np.full_like(points, np.nan), np.array(down)) is None
