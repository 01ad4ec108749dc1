# SPDX-License-Identifier: Apache-2.0
"""Robustness of a node in a process of its own, over real DDS."""

import random
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Log
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool

from infinitevggt_ros.msg import StreamStatus
from support.camera import Camera, Spawn, film, image_message, info_message
from support.listening import Listener, finish
from support.node_process import BROKEN_NODE, DROPPED, NODE, PROCESSED, REJECTED, call, started

pytestmark = pytest.mark.ros


def test_a_frame_that_breaks_never_stops_the_stream(listener: Listener, spawn: Spawn) -> None:
    camera = started(listener, spawn, sys.executable, BROKEN_NODE, "some_frames")
    image = film(1)[0]

    def send(number: int) -> StreamStatus:
        return camera.send(image_message(image, 10**9 + number))

    assert send(1).outcome == PROCESSED
    unpublished = send(2)
    assert unpublished.outcome == REJECTED
    assert "RuntimeError: publishing broke" in unpublished.last_rejection
    kept = send(3)
    assert (kept.outcome, kept.map_id, kept.frame_index) == (PROCESSED, 0, 3)
    torn = send(4)
    assert torn.outcome == REJECTED
    assert "the network broke" in torn.last_rejection
    again = send(5)
    assert (again.outcome, again.map_id, again.frame_index) == (PROCESSED, 1, 1)
    assert "the network broke" in again.last_reset
    camera.publisher.publish(image_message(image, 10**9 + 6))  # the thread dies without a word
    listener.spin_for(1.0)
    revived = send(7)
    assert (revived.outcome, revived.worker_restarts) == (PROCESSED, 1)
    assert send(8).frame_index == 4, "the thread died after the frame had entered the memory"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_node_leaves_while_its_weights_load(
    listener: Listener, spawn: Spawn, how: signal.Signals
) -> None:
    process = spawn(sys.executable, BROKEN_NODE, "loading")
    listener.spin_until(lambda: listener.node.count_publishers(f"{NODE}/status") > 0)
    client = AsyncParameterClient(listener.node, NODE)
    listener.spin_until(client.services_are_ready)
    asked = client.get_parameters(["memory.policy"])
    listener.spin_until(asked.done)  # it answers while it loads
    process.send_signal(how)
    code, output = finish(process)
    assert code == 0, output


def test_the_node_leaves_while_its_network_hangs(listener: Listener, spawn: Spawn) -> None:
    process = spawn(sys.executable, BROKEN_NODE, "every_frame")
    camera = Camera(listener)
    camera.wait_for_node()
    camera.publisher.publish(image_message(film(1)[0], 10**9))
    listener.spin_for(0.5)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 0


def test_settings_that_turn_out_impossible_are_taken_back(listener: Listener, spawn: Spawn) -> None:
    process = spawn("stream_node")
    camera = Camera(listener)
    camera.wait_for_node()
    image = film(1)[0]
    camera.send(image_message(image, 1))
    client = AsyncParameterClient(listener.node, NODE)
    listener.spin_until(client.services_are_ready)
    logs = listener.listen(Log, "/rosout")
    listener.spin_for(0.3)
    statm = Path(f"/proc/{process.pid}/statm").read_text().split()
    most = int(statm[0]) * resource.getpagesize() + 500_000_000  # such a map takes 2.9 GB
    resource.prlimit(process.pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    answer = client.set_parameters([Parameter("map.max_points", value=20_000_000)])
    listener.spin_until(answer.done)
    listener.spin_until(lambda: any("set back: map.max_points" in log.msg for log in logs))
    value = client.get_parameters(["map.max_points"])
    listener.spin_until(value.done)
    assert value.result().values[0].integer_value == 1_000_000
    status = camera.send(image_message(image, 2))
    assert (status.outcome, status.map_id, status.frame_index) == (PROCESSED, 0, 2)


def test_a_pause_drops_images_and_ends(listener: Listener, spawn: Spawn) -> None:
    camera = started(listener, spawn, "stream_node")
    image = film(1)[0]
    camera.send(image_message(image, 1))
    assert call(listener, SetBool, "set_paused", SetBool.Request(data=True)).success
    paused = camera.send(image_message(image, 2))
    assert (paused.outcome, paused.paused, paused.frames_dropped) == (DROPPED, True, 1)
    assert call(listener, SetBool, "set_paused", SetBool.Request(data=False)).success
    again = camera.send(image_message(image, 3))
    assert (again.outcome, again.frame_index, again.map_id) == (PROCESSED, 2, 0)
    assert again.frames_received == 3


class SimulatedTime:
    """Publishes /clock, and images stamped with it."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.clock = camera.listener.node.create_publisher(Clock, "/clock", 10)
        camera.listener.spin_until(lambda: self.clock.get_subscription_count() > 0)
        self.image = film(1)[0]

    def set(self, now_ns: int) -> None:
        message = image_message(self.image, now_ns)
        self.clock.publish(Clock(clock=message.header.stamp))
        self.camera.listener.meet(NODE)

    def send(self, stamp_ns: int) -> StreamStatus:
        return self.camera.send(image_message(self.image, stamp_ns))


SIM_TIME = "stream_node", "--ros-args", "-p", "use_sim_time:=true"


def test_a_clock_that_jumps_back_starts_a_new_map_at_once(listener: Listener, spawn: Spawn) -> None:
    time = SimulatedTime(started(listener, spawn, *SIM_TIME))
    logs = listener.listen(Log, "/rosout")
    time.set(100 * 10**9)
    assert time.send(100 * 10**9).map_id == 0
    time.set(10 * 10**9)
    late = time.send(100 * 10**9 + 1)  # of before the jump, still on its way
    assert late.outcome == REJECTED
    assert "90.0 s ahead of the node's clock" in late.last_rejection
    first = time.send(10 * 10**9)
    assert (first.outcome, first.map_id, first.frame_index) == (PROCESSED, 1, 1)
    assert first.last_reset == "the clock went back by 90.0 s"
    assert time.send(10 * 10**9 + 1).map_id == 1
    said = [log.msg for log in logs if "the clock went back" in log.msg]
    assert said == ["the clock went back by 90.0 s: the stream starts again, map 1"]


def test_age_is_of_the_nodes_clock_and_latency_of_every_output(
    listener: Listener, spawn: Spawn
) -> None:
    time = SimulatedTime(started(listener, spawn, *SIM_TIME))
    listener.listen(Image, f"{NODE}/depth/image")
    assert np.isnan(time.send(47 * 10**9).age), "nobody has said what time it is"
    time.set(50 * 10**9)
    status = time.send(48 * 10**9)
    assert status.age == status.pose_age == pytest.approx(2)
    assert status.depth_age == pytest.approx(2)
    assert 0 < status.pose_latency <= status.depth_latency <= status.latency
    assert np.isnan(status.points_age), "nobody listens to the points"
    assert np.isnan(status.map_age)


def test_time_that_goes_back_is_refused_where_configured(listener: Listener, spawn: Spawn) -> None:
    camera = started(listener, spawn, "stream_node", "--ros-args", "-p", "time.on_jump:=refuse")
    image = film(1)[0]
    camera.send(image_message(image, 10**10))
    older = [camera.send(image_message(image, 10**9 + i)) for i in range(8)]
    assert {status.outcome for status in older} == {REJECTED}
    newer = camera.send(image_message(image, 10**10 + 1))
    assert (newer.outcome, newer.map_id, newer.frame_index) == (PROCESSED, 0, 2)


def test_the_lens_is_taken_out_and_p_holds_for_the_depth(listener: Listener, spawn: Spawn) -> None:
    camera = started(listener, spawn, "stream_node")
    infos = listener.listen(CameraInfo, f"{NODE}/depth/camera_info")
    calibrated = listener.node.create_publisher(CameraInfo, "/camera_info", 1)
    listener.spin_until(lambda: calibrated.get_subscription_count() > 0)
    info = info_message(240, 320, 1)
    info.distortion_model, info.d = "plumb_bob", [-0.3, 0.1, 0.0, 0.0, 0.0]
    info.p = [150.0, 0.0, 160.0, 0.0, 0.0, 150.0, 120.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    image, count = film(1, 240, 320)[0], iter(range(1, 1000))

    def status_with(message: CameraInfo) -> StreamStatus:
        calibrated.publish(message)
        listener.meet(NODE)
        return camera.send(image_message(image, next(count)))

    assert not camera.send(image_message(image, next(count))).calibrated
    known = status_with(info)
    assert (known.calibrated, known.rectified) == (True, True)
    listener.spin_until(lambda: bool(infos) and infos[-1].header.stamp == known.header.stamp)
    assert infos[-1].k[0] == pytest.approx(150 * 112 / 320, rel=1e-6)
    assert list(infos[-1].d) == [0.0] * 5
    info.k = [0.0] * 9
    unknown = status_with(info)
    assert (unknown.calibrated, unknown.rectified) == (False, False)


def test_unusual_encodings_are_counted(listener: Listener, spawn: Spawn) -> None:
    camera = started(listener, spawn, "stream_node")
    pictures = {
        "mono16": np.full((48, 64), 40_000, np.uint16),
        "bayer_rggb8": np.full((48, 64), 90, np.uint8),
        "nv12": np.full((72, 64), 128, np.uint8),
        "rgb8": np.full((48, 64, 3), 90, np.uint8),
    }
    for i, (encoding, pixels) in enumerate(pictures.items()):
        message = image_message(pixels, 1 + i, encoding)
        message.height = 48
        last = camera.send(message)
        assert last.outcome == PROCESSED, (encoding, last.last_rejection)
    assert (last.frames_16bit, last.frames_bayer, last.frames_yuv) == (1, 1, 1)


def test_diagnostics_say_what_is_wrong(listener: Listener, spawn: Spawn) -> None:
    heard = listener.listen(DiagnosticArray, "/diagnostics")

    def latest(part: str) -> DiagnosticStatus:
        return next(status for status in heard[-1].status if status.name.endswith(part))

    def values(part: str) -> dict[str, str]:
        return {pair.key: pair.value for pair in latest(part).values}

    camera = started(
        listener, spawn, "stream_node", "--ros-args", "-p", "tf.mode:=map_to_odom",
        "-p", "memory.limit_mb:=50", "-p", "tf.require_metres:=false",
    )  # fmt: skip
    listener.spin_until(lambda: bool(heard) and latest("images").message == "no image yet")
    image = film(1)[0]
    camera.send(image_message(image, 1))
    listener.spin_until(lambda: latest("stream").message.startswith("nothing published on /tf: "))
    assert latest("stream").level == DiagnosticStatus.WARN
    assert values("stream")["last error"].startswith("nothing published on /tf: ")
    assert (latest("images").level, latest("images").name) == (b"\0", "infinitevggt: images")
    assert latest("calibration").message.startswith("uncalibrated: ")
    assert latest("calibration").message.endswith("; no message on camera_info of /image")
    assert (values("stream")["budget [tokens]"], values("stream")["limit [MB]"]) == (
        "600000",
        "50",
    )
    assert 0 < int(values("stream")["budget now [tokens]"]) < 600_000, "what the limit leaves"
    assert int(values("stream")["memory [tokens]"]) > 0
    figures = [values("images")[key] for key in ("latency [ms]", "age [ms]")]
    camera.send(image_message(image, 2, "quux8"))
    listener.spin_until(lambda: latest("images").level == DiagnosticStatus.WARN)
    assert "'quux8'" in latest("images").message
    again = [values("images")[key] for key in ("latency [ms]", "age [ms]")]
    assert again == figures, "those of the last image that was used"
    listener.spin_until(lambda: latest("images").level == DiagnosticStatus.ERROR)
    assert "no image was used for" in latest("images").message


def test_a_storm_of_parameters_leaves_what_was_accepted(listener: Listener, spawn: Spawn) -> None:
    camera = started(listener, spawn, "stream_node")
    client = AsyncParameterClient(listener.node, NODE)
    listener.spin_until(client.services_are_ready)
    dice, image = random.Random(0), film(1)[0]
    budget = 600_000
    for number in range(1, 41):
        wanted = [
            Parameter("memory.total_budget", value=dice.choice([-1, 1, 5_000, 50_000, 10**12])),
            Parameter("memory.policy", value=dice.choice(["window", "diversity", "lru"])),
            Parameter("map.voxel_size", value=dice.choice([0.0, 0.01, 0.5, float("nan")])),
        ]
        answer = client.set_parameters_atomically(dice.sample(wanted, 3))
        camera.publisher.publish(image_message(image, number))
        listener.spin_until(answer.done)
        if answer.result().result.successful:
            budget = next(p.value for p in wanted if p.name == "memory.total_budget")
    value = client.get_parameters(["memory.total_budget"])
    listener.spin_until(value.done)
    assert value.result().values[0].integer_value == budget
    last = camera.send(image_message(image, 100))
    assert (last.outcome, last.map_id, last.total_budget) == (PROCESSED, 0, budget)
