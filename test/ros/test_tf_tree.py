# SPDX-License-Identifier: Apache-2.0
"""What is sent on /tf again, and what is known of the robot's own, without DDS."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from tf2_ros import TransformException

from infinitevggt_ros.output.tf_tree import TfTree
from infinitevggt_ros.params.settings import Settings, TfSettings
from support.camera import OPTICAL_FRAME, header
from support.rig import PAIR, SMALL, TF, Rig
from support.transforms import transform


def tree_of(rig: Rig, number: int = 0) -> TfTree:
    return rig.streams[number]._outputs._tf


def hear(tree: TfTree, parent: str, child: str, seconds: float, x: float = 3.0) -> None:
    message = transform(parent, child, x, Rotation.identity())
    message.header.stamp = header(round(seconds * 1e9)).stamp
    tree._buffer.set_transform(message, "test")


def test_nothing_is_sent_again_while_the_node_rests() -> None:
    rig = Rig(Settings(model=SMALL, tf=TfSettings(mode="map_to_odom")))
    tree, now = tree_of(rig), SimpleNamespace(nanoseconds=10**9)
    tree._clock = SimpleNamespace(now=lambda: now)
    hear(tree, "odom", OPTICAL_FRAME, 1)

    def sent_at(now_ns: int) -> int:
        """How much there is after the timer's next turn."""
        now.nanoseconds = now_ns
        tree._send_again()
        return sum(topic == TF for topic, _ in rig.sent)

    assert sent_at(10**9) == 0
    rig.push(1)
    assert sent_at(2 * 10**9) == 2
    rig.stream.rest()
    assert sent_at(3 * 10**9) == 2
    rig.stream.wake()
    assert sent_at(4 * 10**9) == 3


def test_a_world_that_begins_again_leaves_the_others_what_they_know() -> None:
    rig = Rig(PAIR)
    left, right = (tree_of(rig, number) for number in range(2))
    hear(left, "odom", "left_eye", 1)
    rig.streams[1].reset("its camera started again")
    np.testing.assert_allclose(left.pose_of("odom", header(10**9, "left_eye"))[:3, 3], (-3, 0, 0))
    right.forget_robot()
    with pytest.raises(TransformException):
        left.pose_of("odom", header(10**9, "left_eye"))


def test_one_world_forgets_the_robot_with_it() -> None:
    rig = Rig(replace(PAIR, rig=Settings().rig))
    hear(tree_of(rig), "odom", "left_eye", 1)
    rig.stream.reset("asked to")
    assert tree_of(rig).position_in_odom(header(10**9, "left_eye")) is None


def test_tf_of_a_time_that_begins_again_replaces_all_of_the_time_before() -> None:
    tree = tree_of(Rig(PAIR))
    for seconds, x in ((100, 1.0), (100.5, 2.0), (100.2, 1.5)):  # a little late is no new time
        hear(tree, "odom", "base_link", seconds, x)
    hear(tree, "base_link", "arm", 100)
    known = tree._buffer.lookup_transform("odom", "arm", Time())
    assert known.transform.translation.x == pytest.approx(4.0)
    hear(tree, "odom", "base_link", 5, 7.0)
    known = tree._buffer.lookup_transform("odom", "base_link", Time())
    assert known.transform.translation.x == 7.0
    assert not tree._buffer.can_transform("base_link", "arm", Time())
