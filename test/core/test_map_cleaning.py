# SPDX-License-Identifier: Apache-2.0
"""The map removes ghosts, sky, distant points and old points."""

from dataclasses import replace

import pytest
import torch

from infinitevggt_core import PointMap
from infinitevggt_core.mapping.view import View
from infinitevggt_core.model.geometry import world_points
from support.map_samples import ALL, FRONT, NAN, K, insert, row

SWEEP = 16
"""Frames until every voxel was looked at."""


def wall(depth: float, size: int = 9) -> View:
    return View(torch.full((size, size), depth), FRONT, K)


def look(point_map: PointMap, view: View) -> int:
    """A frame as a camera gives it; returns the points used."""
    points = world_points(view.depth[None], view.camera_from_world[None], view.intrinsics[None])[0]
    size = view.depth.shape
    return point_map.insert(points, torch.zeros(3, *size), torch.full(size, 2.0), view)


def depths(point_map: PointMap) -> set[float]:
    return {round(z, 3) for z in point_map.cloud().positions[:, 2].tolist()}


def test_a_ghost_that_is_seen_through_often_enough_goes() -> None:
    point_map = PointMap(replace(ALL, thin_after=3))
    look(point_map, wall(1.0))
    for _ in range(2 * SWEEP):
        look(point_map, wall(2.0))
    assert depths(point_map) == {1.0, 2.0}, "seen through twice is not enough"
    for _ in range(SWEEP):
        look(point_map, wall(2.0))
    assert depths(point_map) == {2.0}
    assert len(point_map) == len(point_map.cloud().positions)


def test_what_is_seen_again_in_between_is_no_ghost() -> None:
    point_map = PointMap(replace(ALL, thin_after=2))
    for _ in range(4):
        look(point_map, wall(1.0))
        for _ in range(SWEEP):
            look(point_map, wall(2.0))
    assert depths(point_map) == {1.0, 2.0}


@pytest.mark.parametrize(
    "view",
    [
        wall(0.5),  # hidden behind something
        wall(1.05),  # within the margin
        View(torch.full((9, 9), NAN), FRONT, K),  # nothing known
        View(torch.full((9, 9), 2.0), torch.eye(3, 4) * torch.tensor([[-1.0], [1], [-1]]), K),
    ],
)
def test_what_is_not_seen_through_stays(view: View) -> None:
    point_map = PointMap(replace(ALL, thin_after=1, thin_margin=0.1))
    look(point_map, wall(1.0))
    for _ in range(3 * SWEEP):
        look(point_map, view)
    assert 1.0 in depths(point_map)


def test_an_edge_is_not_thinned_by_what_lies_beside_it() -> None:
    """A pixel's surface is known to a pixel only."""
    point_map = PointMap(replace(ALL, thin_after=1))
    near = wall(1.0)
    near.depth[:, 5:] = 3.0
    look(point_map, near)
    shifted = wall(1.0)
    shifted.depth[:, 4:] = 3.0
    for _ in range(2 * SWEEP):
        look(point_map, shifted)
    kept = point_map.cloud().positions
    assert (kept == torch.tensor([0.0, 0, 1])).all(1).any(), "the middle of column 4 is gone"


def test_sky_stays_out() -> None:
    point_map = PointMap(replace(ALL, sky_ratio=20.0))
    view = wall(1.0)
    view.depth[0] = 20.5
    view.depth[1] = 19.5
    assert look(point_map, view) == 72
    assert depths(point_map) == {1.0, 19.5}


def test_points_out_of_range_of_the_camera_stay_out_wherever_it_is() -> None:
    point_map = PointMap(replace(ALL, max_range=2.0))
    moved = torch.eye(3, 4)
    moved[2, 3] = -10.0  # the camera stands at z = 10
    assert look(point_map, View(torch.full((1, 1), 1.9), moved, torch.eye(3))) == 1
    assert look(point_map, View(torch.full((1, 1), 2.1), moved, torch.eye(3))) == 0


def test_points_far_from_the_camera_are_removed() -> None:
    point_map = PointMap(replace(ALL, radius=5.0))
    look(point_map, wall(1.0))
    moved = torch.eye(3, 4)
    moved[0, 3] = -20.0
    for _ in range(SWEEP):
        look(point_map, View(torch.full((9, 9), 1.0), moved, K))
    assert (point_map.cloud().positions[:, 0] > 15).all()


def test_points_unseen_for_too_long_are_removed() -> None:
    point_map = PointMap(replace(ALL, max_age=20))
    insert(point_map, row(5))
    for _ in range(20):
        insert(point_map, row(5, y=1.05))
    assert len(point_map) == 10
    for _ in range(SWEEP):
        insert(point_map, row(5, y=1.05))
    assert len(point_map) == 5
