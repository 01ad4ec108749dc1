# SPDX-License-Identifier: Apache-2.0
"""Geometry lets true loops through, with their scale, and no others."""

from dataclasses import replace

import numpy as np
import pytest

from infinitevggt_core.tracking.loop_verifier import LoopVerifier
from infinitevggt_core.tracking.place import Place
from infinitevggt_core.tracking.similarity import Similarity3
from support.place_samples import blank, keyframe, room, wall

NOWHERE = np.eye(3, 4)


def place(view: int, index: int, scale: float = 1.0) -> Place:
    return Place.of(keyframe(room()[view], index, scale=scale))


def truth(first: int, second: int, first_scale: float, second_scale: float) -> Similarity3:
    """Camera of the first view <- camera of the second, each in a unit of its own."""
    poses = [Similarity3.from_rigid(room()[k].camera_from_world) for k in (first, second)]
    rigid = poses[0] @ poses[1].inverse()
    scale = np.array(first_scale / second_scale)
    return Similarity3(scale, rigid.rotation, first_scale * rigid.translation)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("pair", [(0, 3), (6, 4), (2, 2)])
def test_a_loop_is_measured_in_both_units(scale: float, pair: tuple[int, int]) -> None:
    first, second = pair
    loop = LoopVerifier().verify(place(first, 1, scale), place(second, 90))
    assert loop is not None
    assert loop.key == (1, 90)
    error = (loop.relative.inverse() @ truth(first, second, scale, 1.0)).log()
    assert np.linalg.norm(error[:3]) < np.deg2rad(1.5)
    assert np.linalg.norm(error[3:6]) < 0.05
    assert abs(error[6]) < 0.05
    assert error @ np.linalg.solve(loop.covariance, error) < 24
    assert np.linalg.eigvalsh(loop.covariance).min() > 0


def test_without_depth_on_the_other_side_the_scale_is_open() -> None:
    view = place(3, 90)
    loop = LoopVerifier().verify(place(0, 1), replace(view, depth=np.full_like(view.depth, np.nan)))
    assert loop is not None
    assert loop.covariance[6, 6] == 1


def test_other_walls_are_no_loop() -> None:
    verifier = LoopVerifier()
    places = [Place.of(keyframe(wall(k, NOWHERE), k)) for k in range(12)]
    places += [place(0, 50)]
    for one in places:
        for other in places:
            if one is not other:
                assert verifier.verify(one, other) is None


def test_points_that_fit_no_pose_are_no_loop() -> None:
    dice, old = np.random.default_rng(0), place(0, 1)
    mixed = replace(old, pixels=old.pixels[dice.permutation(len(old))])
    assert LoopVerifier().verify(mixed, place(1, 90)) is None


def test_matches_in_a_corner_of_the_image_are_not_enough() -> None:
    old, new = place(0, 1), place(0, 90)
    depth = old.depth.copy()
    depth[old.pixels[:, 1] > 60] = np.nan
    strip = replace(old, depth=np.where(old.pixels[:, 1] < 30, depth, np.nan).astype(np.float32))
    assert LoopVerifier().verify(strip, new) is None


def test_the_same_view_is_told_from_a_near_one() -> None:
    verifier = LoopVerifier()
    assert verifier.same_view(place(0, 1), place(0, 2))
    assert not verifier.same_view(place(0, 1), place(9, 2))


def test_garbage_is_no_loop() -> None:
    verifier, good = LoopVerifier(), place(0, 1)
    nothing = Place.of(blank(3))
    for one, other in ((good, nothing), (nothing, good), (nothing, nothing)):
        assert verifier.verify(one, other) is None
    no_depth = replace(good, depth=np.full_like(good.depth, np.nan))
    assert verifier.verify(no_depth, place(1, 90)) is None
    one_point = replace(good, pixels=np.full_like(good.pixels, 100.0))
    assert verifier.verify(one_point, place(1, 90)) is None
    assert verifier.verify(place(1, 90), one_point) is None
    assert verifier.search([], good) == []
