# SPDX-License-Identifier: Apache-2.0
"""Several cameras that share one world."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Log
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage
from tf2_ros import StaticTransformBroadcaster

from infinitevggt_core import StreamSession, preprocess
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.params.settings import InputSettings, Settings
from infinitevggt_ros.stream.export import save_map
from infinitevggt_ros.stream.state_file import write_state
from support.camera import Camera, Spawn, film, image_message
from support.listening import Listener
from support.rig import IMAGES, MODEL, SMALL, Rig

NODE = "/infinitevggt"
PAIR = Settings(model=SMALL, input=InputSettings(cameras=("left", "right"), restart_after=3))
PROCESSED, REJECTED = StreamStatus.PROCESSED, StreamStatus.REJECTED


def both_take(rig: Rig, numbers: range) -> None:
    """Image after image, left and right at the same time."""
    for number in numbers:
        rig.take(IMAGES[number % 6], 10**9 + number, "left")
        rig.take(IMAGES[(number + 1) % 6], 10**9 + number, "right")


def test_cameras_in_turn_are_one_stream() -> None:
    rig, session = Rig(PAIR), StreamSession(MODEL)
    both_take(rig, range(3))
    for number in (0, 1, 1, 2, 2, 3):
        expected = session.push(preprocess(IMAGES[number], 28)[0])
    result = rig.stream.latest_of["right"]
    assert np.array_equal(result.camera_from_world, expected.camera_from_world[0].double().numpy())
    assert np.array_equal(result.depth, expected.depth[0].numpy())
    assert rig.stream.latest is result
    counts = {name: len(path.poses) for name, path in rig.stream.trajectories.items()}
    assert counts == {"left": 3, "right": 3}


def test_a_camera_whose_time_goes_back_restarts_the_rig_only_where_no_other_goes_on() -> None:
    rig = Rig(PAIR)
    both_take(rig, range(100, 102))
    for number in range(10):
        with pytest.raises(BadInputError, match="before the last image's"):
            rig.take(IMAGES[0], 1 + number, "right")
        rig.take(IMAGES[0], 2 * 10**9 + number, "left")
    assert rig.stream.map_id == 0
    for number in range(2):
        with pytest.raises(BadInputError):
            rig.take(IMAGES[0], 100 + number, ("left", "right")[number])
    rig.take(IMAGES[0], 102, "left")
    rig.take(IMAGES[0], 100, "right")
    assert (rig.stream.map_id, rig.stream.session.frame_index) == (1, 2)


def test_a_camera_of_another_shape_is_refused_and_the_other_goes_on() -> None:
    rig = Rig(PAIR)
    wide = film(1, 14, 28)[0]
    rig.take(IMAGES[0], 1, "left")
    for number in range(5):
        with pytest.raises(BadInputError, match="28x14 px and the images before it as 28x28"):
            rig.take(wide, 1 + number, "right")
    rig.take(IMAGES[1], 2, "left")
    assert (rig.stream.map_id, rig.stream.session.frame_index) == (0, 2)


def test_each_camera_has_its_trajectory_in_files_and_states(tmp_path: Path) -> None:
    rig, other, single = Rig(PAIR), Rig(PAIR), Rig()
    both_take(rig, range(3))
    save_map(rig.stream, tmp_path / "way.tum")
    assert {path.name for path in tmp_path.iterdir()} == {"way_left.tum", "way_right.tum"}
    assert len((tmp_path / "way_left.tum").read_text().splitlines()) == 1 + 3
    write_state(tmp_path / "state.pt", rig.stream.state_dict())
    other.stream.load_world(tmp_path / "state.pt")
    both_take(other, range(3, 4))
    assert len(other.stream.trajectories["right"].poses) == 4
    with pytest.raises(ValueError, match="the state has no ''"):
        single.stream.load_world(tmp_path / "state.pt")


@pytest.mark.parametrize("cameras", [("left", "left"), ("left", "a b"), ("left", ""), ("a", "1b")])
def test_names_that_cannot_be_topics_are_refused(cameras: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="cameras must"):
        replace(PAIR.input, cameras=cameras)


def rig_camera(listener: Listener, name: str) -> Camera:
    return Camera(listener, topic=f"/{name}/image", name=name)


def transform(child: str, y: float) -> TransformStamped:
    """From base_link to an optical frame that looks ahead, y metres to the left."""
    result = TransformStamped(child_frame_id=child)
    result.header.frame_id = "base_link"
    result.transform.translation.y = y
    q = result.transform.rotation
    q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
    return result


@pytest.mark.ros
def test_a_rig_has_one_map_and_one_place_by_every_camera(listener: Listener, spawn: Spawn) -> None:
    robot = StaticTransformBroadcaster(listener.node)
    tf = listener.listen(TFMessage, "/tf")
    maps = listener.listen(PointCloud2, f"{NODE}/map", latched=True)
    odometry = {
        name: listener.listen(Odometry, f"{NODE}/{name}/odometry") for name in ("left", "right")
    }
    # random weights say exactly that the camera stands where the first one was
    arguments = ("cameras:=[left, right]", "model.checkpoint:=random:tiny")
    arguments += ("output.map_period:=0.05", "tf.mode:=map_to_base", "tf.require_metres:=false")
    spawn("stream_node", "--ros-args", *(x for text in arguments for x in ("-p", text)))
    cameras = {name: rig_camera(listener, name) for name in ("left", "right")}
    for camera in cameras.values():
        camera.wait_for_node()
    robot.sendTransform([transform("left_eye", 0.1), transform("right_eye", -0.1)])
    pixels, stamps = film(1)[0], iter(range(1, 1000))

    def send(name: str, stamp: int) -> StreamStatus:
        return cameras[name].send(image_message(pixels, stamp, frame_id=f"{name}_eye"))

    while not tf:  # until the node knows the robot
        send("left", next(stamps))
        listener.spin_for(0.05)
    stamp = next(stamps)
    before = send("left", stamp).frame_index
    listener.spin_until(lambda: tf[-1].transforms[0].header.stamp.nanosec == stamp)
    tf.clear()
    stamp += 1
    left, right = send("left", stamp), send("right", stamp + 1)
    both = send("left", stamp + 2), send("right", stamp + 2)
    last = send("left", stamp + 3)
    listener.spin_until(lambda: bool(tf) and tf[-1].transforms[0].header.stamp == last.header.stamp)
    listener.spin_until(lambda: bool(maps) and maps[-1].header.stamp == last.header.stamp)
    # the base stands right of the left camera and left of the right one
    sent = [(t.header.stamp.nanosec - stamp, t.transform.translation.y) for t in places(tf)]
    np.testing.assert_allclose(sent, [(0, -0.1), (1, 0.1), (2, -0.1), (3, -0.1)], atol=1e-6)
    assert [status.camera for status in (left, right, *both)] == ["left", "right"] * 2
    assert last.frame_index == before + 5
    assert (last.frames_processed, both[1].frames_processed) == (before + 3, 2)
    listener.spin_until(lambda: bool(odometry["right"]))
    assert odometry["right"][0].child_frame_id == "right_eye"


def places(heard: list[TFMessage]) -> list[TransformStamped]:
    return [transform for message in heard for transform in message.transforms]


@pytest.mark.ros
def test_the_qos_of_one_topic_is_overridden_and_of_no_other(
    listener: Listener, spawn: Spawn
) -> None:
    overrides = {
        "/left/image.subscription.reliability": "best_effort",
        "/left/image.subscription.depth": "1",
        "/infinitevggt/right/odometry.publisher.reliability": "best_effort",
    }
    options = [f"qos_overrides.{name}:={value}" for name, value in overrides.items()]
    options.append("cameras:=[left, right]")
    spawn("stream_node", "--ros-args", *(x for text in options for x in ("-p", text)))
    cameras = {name: rig_camera(listener, name) for name in ("left", "right")}  # reliable ones
    for camera in cameras.values():
        camera.wait_for_node()

    def reliability(topic: str, *, published: bool) -> ReliabilityPolicy:
        node = listener.node
        of = (
            node.get_publishers_info_by_topic if published else node.get_subscriptions_info_by_topic
        )
        [found] = of(topic)
        return found.qos_profile.reliability

    reliable, best_effort = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
    assert reliability("/left/image", published=False) == best_effort
    assert reliability("/right/image", published=False) == reliable
    assert reliability(f"{NODE}/left/odometry", published=True) == reliable
    assert reliability(f"{NODE}/right/odometry", published=True) == best_effort
    pixels = film(1)[0]
    for number, camera in enumerate(cameras.values(), start=1):
        assert camera.send(image_message(pixels, number)).outcome == PROCESSED


@pytest.mark.ros
def test_bad_and_silent_cameras_do_not_stop_the_others(listener: Listener, spawn: Spawn) -> None:
    logs = listener.listen(Log, "/rosout")
    heard = listener.listen(DiagnosticArray, "/diagnostics")
    spawn("stream_node", "--ros-args", "-p", "cameras:=[left, right, rear]")
    left, right = rig_camera(listener, "left"), rig_camera(listener, "right")
    left.wait_for_node()
    right.wait_for_node()
    pixels = film(1)[0]
    for number in range(1, 4):
        garbage = right.send(image_message(pixels, 10 * number, "quux8"))
        assert (garbage.outcome, garbage.camera) == (REJECTED, "right")
        good = left.send(image_message(pixels, 10 * number + 1))
        assert (good.outcome, good.camera, good.frame_index) == (PROCESSED, "left", number)
    assert garbage.last_rejection.startswith("/right/image: image refused, ")
    assert (good.frames_rejected, good.last_rejection) == (0, "")
    recovered = right.send(image_message(pixels, 50))
    assert (recovered.outcome, recovered.frames_rejected) == (PROCESSED, 3)

    def rear_is_missed() -> bool:
        latest = {s.name: s.level for s in heard[-1].status} if heard else {}
        return latest.get("infinitevggt: rear images") == DiagnosticStatus.ERROR

    said = "/rear/image: no image for 5 s; 0 publisher(s); remap `rear/image`"
    listener.spin_until(lambda: any(said in log.msg for log in logs))
    listener.spin_until(rear_is_missed)
    assert left.send(image_message(pixels, 60)).outcome == PROCESSED
