# SPDX-License-Identifier: Apache-2.0
"""Lookups in tf2_ros.Buffer, the genuine one or the stand-in in ros_shims/."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tf2_ros import (
    ConnectivityException,
    ExtrapolationException,
    LookupException,
    TransformException,
)

from support.tf2_samples import (
    LATEST,
    QUARTER_TURN,
    UPRIGHT,
    at,
    camera_chain,
    filled,
    matrix,
    transform,
)


def test_a_point_ahead_of_the_camera_is_where_the_chain_of_frames_puts_it() -> None:
    found = camera_chain().lookup_transform("map", "optical", LATEST)
    # 3 m ahead: (3, 0, 0.5) in base, which is at (2, 0, 0) in odom at 5 s: (5, 0, 0.5) in odom,
    # turned left: (0, 5, 0.5), and odom is at (1, 0, 0) in map
    np.testing.assert_allclose(matrix(found) @ [0, 0, 3, 1], [1, 5, 0.5, 1], atol=1e-12)
    # 1 m to its right is 1 m along map's x, for the camera looks along map's y
    np.testing.assert_allclose(matrix(found) @ [1, 0, 3, 1], [2, 5, 0.5, 1], atol=1e-12)
    assert (found.header.frame_id, found.child_frame_id) == ("map", "optical")


def test_the_latest_transform_is_of_the_time_that_all_moving_frames_have() -> None:
    found = camera_chain().lookup_transform("map", "optical", LATEST)
    assert found.header.stamp == at(5.0).to_msg()
    found = camera_chain().lookup_transform("odom", "optical", LATEST)
    assert found.header.stamp == at(7.0).to_msg()
    found = camera_chain().lookup_transform("base", "optical", LATEST)
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (0, 0)


def test_the_way_back_is_the_inverse() -> None:
    buffer = camera_chain()
    there = matrix(buffer.lookup_transform("map", "optical", at(4.5)))
    back = matrix(buffer.lookup_transform("optical", "map", at(4.5)))
    np.testing.assert_allclose(there @ back, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(back @ [1, 1.5, 0.5, 1], [0, 0, 0, 1], atol=1e-12)


def test_two_branches_meet_in_the_frame_they_share() -> None:
    buffer = filled(
        transform("map", "base", 1.0, (100.0, 0.0, 0.0), QUARTER_TURN),
        transform("base", "left", 2.0, (0.0, 1.0, 0.0), QUARTER_TURN),
        transform("base", "right", 2.0, (0.0, -1.0, 0.0)),
    )
    found = buffer.lookup_transform("left", "right", at(2.0))  # map is not known then
    np.testing.assert_allclose(matrix(found)[:3, 3], [-2, 0, 0], atol=1e-12)  # behind left
    found = buffer.lookup_transform("left", "right", LATEST)
    assert found.header.stamp == at(2.0).to_msg()


numbers = st.floats(-10, 10)
rotations = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)
poses = st.tuples(st.tuples(numbers, numbers, numbers), rotations)


@settings(max_examples=50, deadline=None)
@given(st.lists(poses, min_size=3, max_size=3))
def test_a_chain_is_the_product_of_its_matrices(chain: list[Any]) -> None:
    names = ["map", "odom", "base", "optical"]
    links = [
        transform(*names[index : index + 2], 1.0, xyz, tuple(q / np.linalg.norm(q)))
        for index, (xyz, q) in enumerate(chain)
    ]
    expected = np.linalg.multi_dot([matrix(link) for link in links])
    buffer = filled(*links)
    found = matrix(buffer.lookup_transform("map", "optical", at(1.0)))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    found = matrix(buffer.lookup_transform("optical", "map", LATEST))
    np.testing.assert_allclose(found, np.linalg.inv(expected), atol=1e-9)


@pytest.mark.parametrize("order", [1, -1])
def test_half_way_between_two_stamps_is_half_the_way_and_half_the_turn(order: int) -> None:
    samples = [
        transform("map", "base", 10.0, (0.0, 0.0, 0.0), UPRIGHT),
        transform("map", "base", 12.0, (4.0, 2.0, 0.0), QUARTER_TURN),
        transform("map", "base", 14.0, (8.0, 8.0, 8.0), UPRIGHT),
    ]
    buffer = filled(*samples[::order])
    found = matrix(buffer.lookup_transform("map", "base", at(11.0)))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found[:3, 3], [2, 1, 0], atol=1e-12)
    np.testing.assert_allclose(found[:2, :2], [[half, -half], [half, half]], atol=1e-12)
    found = matrix(buffer.lookup_transform("map", "base", at(12.0)))
    np.testing.assert_allclose(found, matrix(samples[1]), atol=1e-12)


def test_a_turn_is_interpolated_the_short_way_round() -> None:
    buffer = filled(
        transform("map", "base", 10.0, quaternion=UPRIGHT),
        transform("map", "base", 12.0, quaternion=tuple(-q for q in QUARTER_TURN)),
    )
    found = matrix(buffer.lookup_transform("map", "base", at(11.0)))
    np.testing.assert_allclose(found[:2, 0], [np.sqrt(0.5)] * 2, atol=1e-12)


@pytest.mark.parametrize("seconds", [9.9, 12.1, 1e9])
def test_a_time_outside_the_samples_is_refused(seconds: float) -> None:
    buffer = filled(transform("map", "base", 10.0), transform("map", "base", 12.0))
    with pytest.raises(ExtrapolationException, match="base"):
        buffer.lookup_transform("map", "base", at(seconds))
    assert buffer.can_transform("map", "base", at(seconds)) == 0
    assert buffer.can_transform("map", "base", at(10.0)) == 1


def test_one_sample_holds_at_its_own_time_only() -> None:
    buffer = filled(transform("map", "base", 10.0, (1.0, 0.0, 0.0)))
    assert buffer.lookup_transform("map", "base", at(10.0)).transform.translation.x == 1.0
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("map", "base", at(10.1))


def test_a_static_transform_holds_at_every_time() -> None:
    buffer = camera_chain()
    for seconds in (0.001, 4.0, 1e9):
        found = buffer.lookup_transform("base", "optical", at(seconds))
        assert found.transform.translation.z == 0.5
        assert found.header.stamp == at(seconds).to_msg()


@pytest.mark.parametrize(("target", "source"), [("nowhere", "base"), ("base", "nowhere")])
def test_a_frame_nobody_sent_does_not_exist(target: str, source: str) -> None:
    buffer = camera_chain()
    with pytest.raises(LookupException, match="nowhere"):
        buffer.lookup_transform(target, source, LATEST)
    possible, reason = buffer.can_transform(target, source, LATEST, return_debug_tuple=True)
    assert not possible
    assert "nowhere" in reason


def test_frames_of_two_trees_are_not_connected() -> None:
    buffer = filled(transform("map", "base", 1.0), transform("earth", "moon", 1.0))
    with pytest.raises(ConnectivityException, match="moon"):
        buffer.lookup_transform("base", "moon", LATEST)


def test_frames_in_a_loop_are_an_error_and_not_a_hang() -> None:
    buffer = filled(transform("a", "b", 1.0), transform("b", "a", 1.0), transform("c", "d", 1.0))
    with pytest.raises(TransformException):
        buffer.lookup_transform("c", "a", at(1.0))
