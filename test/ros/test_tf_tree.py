# SPDX-License-Identifier: Apache-2.0
"""Transforms sent on /tf, and knowledge of the robot's tree, without DDS."""

from dataclasses import replace

import numpy as np
import pytest
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from tf2_ros import TransformException

from infinitevggt_ros.input.robot_tf import RobotTf
from infinitevggt_ros.params.settings import Settings, TfSettings
from infinitevggt_ros.pose_messages import matrix_from_transform
from support.camera import OPTICAL_FRAME, header
from support.rig import PAIR, POINTS, SMALL, Rig
from support.scales import METRIC, use_scale
from support.transforms import OPTICAL, transform

BASE = transform("base_link", OPTICAL_FRAME, 0.2, OPTICAL)


def robot_of(rig: Rig, number: int = 0) -> RobotTf:
    return list(rig.publishers.values())[number].robot


def hear(rig: Rig, parent: str, child: str, seconds: float, x: float = 3.0) -> None:
    message = transform(parent, child, x, Rotation.identity())
    message.header.stamp = header(round(seconds * 1e9)).stamp
    rig.hear_tf(message)


def edges(rig: Rig) -> set[tuple[str, str]]:
    return {(sent.header.frame_id, sent.child_frame_id) for sent in rig.transforms}


def test_nothing_is_sent_again_while_the_node_rests() -> None:
    tf = TfSettings(mode="map_to_odom", require_metres=False)
    rig = Rig(Settings(model=SMALL, tf=tf))
    hear(rig, "odom", OPTICAL_FRAME, 1)

    def sent_at(now_ns: int) -> int:
        """Return the number of transforms after the timer's next call."""
        rig.node.now_ns = now_ns
        rig.fire_timers()
        return len(rig.transforms)

    assert sent_at(10**9) == 0
    rig.push(1)
    assert sent_at(2 * 10**9) == 2
    rig.publisher.rest()
    assert sent_at(3 * 10**9) == 2
    rig.publisher.wake()
    assert sent_at(4 * 10**9) == 3


def test_a_world_that_begins_again_leaves_the_others_what_they_know() -> None:
    rig = Rig(PAIR)
    left, right = (robot_of(rig, number) for number in range(2))
    hear(rig, "odom", "left_eye", 1)
    rig.streams[1].reset("its camera started again")
    np.testing.assert_allclose(left.lookup("odom", header(10**9, "left_eye"))[:3, 3], (-3, 0, 0))
    right.buffer.clear()
    with pytest.raises(TransformException):
        left.lookup("odom", header(10**9, "left_eye"))


def test_one_world_forgets_the_robot_with_it() -> None:
    rig = Rig(replace(PAIR, rig=Settings().rig))
    hear(rig, "odom", "left_eye", 1)
    rig.stream.reset("asked to")
    assert robot_of(rig).position_in_odom(header(10**9, "left_eye")) is None


def test_tf_of_a_time_that_begins_again_replaces_all_of_the_time_before() -> None:
    rig = Rig(PAIR)
    buffer = robot_of(rig).buffer
    for seconds, x in ((100, 1.0), (100.5, 2.0), (100.2, 1.5)):  # a little late is no new time
        hear(rig, "odom", "base_link", seconds, x)
    hear(rig, "base_link", "arm", 100)
    known = buffer.lookup_transform("odom", "arm", Time())
    assert known.transform.translation.x == pytest.approx(4.0)
    hear(rig, "odom", "base_link", 5, 7.0)
    known = buffer.lookup_transform("odom", "base_link", Time())
    assert known.transform.translation.x == 7.0
    assert not buffer.can_transform("base_link", "arm", Time())


@pytest.mark.parametrize("mode", ["auto", "map_to_odom", "odom_to_base", "map_to_base"])
def test_an_arbitrary_unit_never_joins_the_robots_tree(mode: str) -> None:
    rig = Rig(Settings(model=SMALL, tf=TfSettings(mode=mode)))
    rig.hear_tf(BASE, static=True)
    rig.push(2)
    rig.node.now_ns = 10**9
    rig.fire_timers()
    assert edges(rig) == {("map", f"{OPTICAL_FRAME}_visual")}
    assert rig.stream.latest is not None
    found = matrix_from_transform(rig.transforms[-1].transform)
    np.testing.assert_allclose(found, rig.stream.latest.pose, atol=1e-9)
    assert rig.messages(POINTS)[-1].header.frame_id == f"{OPTICAL_FRAME}_visual"


def test_metres_join_the_robots_tree() -> None:
    rig = Rig(METRIC)
    rig.hear_tf(BASE, static=True)
    use_scale(rig.stream, 2.0)
    rig.push(2)
    assert edges(rig) == {("map", "base_link")}
    assert rig.messages(POINTS)[-1].header.frame_id == OPTICAL_FRAME


def test_auto_corrects_odometry_by_a_timer_and_ahead_of_the_clock() -> None:
    """As map_to_odom does: a transform of the image's stamp is too old for who looks it up."""
    rig = Rig(replace(METRIC, tf=TfSettings(tolerance=0.5)))
    rig.hear_tf(BASE, static=True)
    hear(rig, "odom", "base_link", 1)
    use_scale(rig.stream, 2.0)
    rig.node.now_ns = 3 * 10**9
    rig.push(1)
    for _ in range(3):
        rig.node.now_ns += 10**8
        rig.fire_timers()
    assert edges(rig) == {("map", "odom")}
    stamps = [sent.header.stamp.sec + sent.header.stamp.nanosec / 1e9 for sent in rig.transforms]
    assert stamps == pytest.approx([3.5, 3.6, 3.7, 3.8])


@pytest.mark.parametrize("slash", ["", "/"])
def test_frames_are_named_as_tf2_names_them(slash: str) -> None:
    """A leading slash makes no other frame, in parameters, images and transforms."""
    names = {f"{name}_frame": f"{slash}{name}" for name in ("map", "odom")}
    tf = TfSettings(mode="map_to_base", base_frame=f"{slash}base_link", **names)
    rig = Rig(replace(METRIC, tf=tf))
    rig.hear_tf(transform(f"{slash}base_link", f"{slash}eye", 0.2, OPTICAL), static=True)
    use_scale(rig.stream, 2.0)
    rig.take_together({"": np.zeros((28, 28, 3), np.uint8)}, 10**9, frame_ids=f"{slash}eye")
    assert edges(rig) == {("map", "base_link")}
    assert rig.messages(POINTS)[-1].header.frame_id == "eye"
