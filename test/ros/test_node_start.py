# SPDX-License-Identifier: Apache-2.0
"""Start and end of stream_node: its messages and exit status."""

import itertools
import pathlib
import signal
import time

import pytest
from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage

from support.asking import parameter_client, parameter_dump
from support.camera import (
    Camera,
    Spawn,
    film,
    image_message,
    info_message,
)
from support.listening import Listener, finish

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_node_at_once_even_twice(
    listener: Listener, spawn: Spawn, how: signal.Signals
) -> None:
    process = spawn("stream_node")
    camera = Camera(listener)
    camera.wait_for_node()
    camera.send(image_message(film(1)[0], 10**9))
    process.send_signal(how)
    time.sleep(0.02)
    if process.poll() is None:
        process.send_signal(how)
    code, output = finish(process)
    assert code == 0, output


@pytest.mark.parametrize(("library", "delay_s"), [("_rclpy", 0), ("libtorch", 0), ("libtorch", 1)])
def test_ctrl_c_while_the_node_loads_is_quiet(spawn: Spawn, library: str, delay_s: float) -> None:
    process = spawn("stream_node")
    loaded = pathlib.Path(f"/proc/{process.pid}/maps")
    while library not in loaded.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 0


def test_a_misspelt_parameter_is_pointed_out(spawn: Spawn, listener: Listener) -> None:
    process = spawn("stream_node", "--ros-args", "-p", "memory.total_bugdet:=1000")
    Camera(listener).wait_for_node()
    process.send_signal(signal.SIGINT)
    assert (
        "no parameter memory.total_bugdet; did you mean memory.total_budget?" in finish(process)[1]
    )


def test_a_dump_of_the_parameters_loads_without_a_warning(
    spawn: Spawn, listener: Listener, tmp_path: pathlib.Path
) -> None:
    given = (
        "memory.total_budget:=5000",
        "model.threads:=1",
        "qos_overrides./image.subscription.reliability:=best_effort",
    )
    options = [item for argument in given for item in ("-p", argument)]
    first = spawn("stream_node", "--ros-args", *options)
    Camera(listener).wait_for_node()
    dumped = parameter_dump(listener, parameter_client(listener))
    first.send_signal(signal.SIGINT)
    finish(first)
    path = tmp_path / "dump.yaml"
    path.write_text(dumped)
    again = spawn("stream_node", "--ros-args", "--params-file", str(path))
    Camera(listener).wait_for_node()
    assert parameter_dump(listener, parameter_client(listener)) == dumped
    again.send_signal(signal.SIGINT)
    code, output = finish(again)
    assert code == 0
    assert "[WARN]" not in output


def test_a_calibration_that_was_latched_before_the_start_is_heard(
    spawn: Spawn, listener: Listener
) -> None:
    """Other publishers of it are heard too, and cause no warning of rclpy."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    sent = listener.node.create_publisher(CameraInfo, "/camera_info", latched)
    listener.node.create_publisher(CameraInfo, "/camera_info", qos_profile_sensor_data)
    sent.publish(info_message(48, 64, 1))
    process = spawn("stream_node")
    camera, images = Camera(listener), film(1)
    camera.wait_for_node()
    stamps_ns = itertools.count(10**9, 10**8)
    # an image may overtake the calibration, which comes from another publisher
    listener.spin_until(lambda: camera.send(image_message(images[0], next(stamps_ns))).calibrated)
    process.send_signal(signal.SIGINT)
    assert "incompatible QoS" not in finish(process)[1]


def test_the_limits_of_the_weights_are_said_once(spawn: Spawn, listener: Listener) -> None:
    process = spawn("stream_node")
    camera = Camera(listener)
    camera.wait_for_node()
    camera.send_film(film(2))
    process.send_signal(signal.SIGINT)
    assert finish(process)[1].count("trained on synthetic rooms only") == 1


def test_silence_is_explained(spawn: Spawn, listener: Listener) -> None:
    """With simulated time and nobody who publishes /clock, too."""
    logs = listener.listen(Log, "/rosout")
    listener.node.create_publisher(CompressedImage, "/image", QoSProfile(depth=1))
    spawn("stream_node", "--ros-args", "-p", "use_sim_time:=true")
    said = (
        "/image: no image for 5 s; 1 publisher(s): /listener offers reliable; that is "
        "sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image: see image_transport"
    )
    listener.spin_until(lambda: any(said in log.msg for log in logs))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("model.checkpoint:=/nowhere/model.pt",), "no such file"),
        (("model.device:=cuda:99",), "model.device"),
        (("model.image_size:=100",), "multiple of 14"),
        (("memory.policy:=lru",), "stream_node: memory.policy must be one of"),
        (("state.path:=/nowhere/state.pt",), "state.path: there is no directory /nowhere"),
        (("state.path:=~nobody_of_this_name/a.pt",), "state.path cannot be used: ~nobody"),
        (("map.voxel_size:=1",), "map.voxel_size"),
        (("memory.total_budget:=0",), "memory.total_budget"),
        (("qos_overrides./image.subscription.reliability:=quux",), "must be one of reliable"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_clear_line(
    spawn: Spawn, arguments: tuple[str, ...], words: str
) -> None:
    options = [item for argument in arguments for item in ("-p", argument)]
    code, output = finish(spawn("stream_node", "--ros-args", *options))
    assert code == 1
    assert words in output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "Error opening YAML file"),
        ("/**: [1\n b", "at line 1"),
        ("/**:\n  ros__parameters:\n    cameras: [1, left]\n", "at line_num 3"),
    ],
)
def test_a_file_of_parameters_that_cannot_be_read_is_named(
    spawn: Spawn, tmp_path: pathlib.Path, text: str | None, words: str
) -> None:
    path = tmp_path / "stream.yaml"
    if text is not None:
        path.write_text(text)
    code, output = finish(spawn("stream_node", "--ros-args", "--params-file", str(path)))
    assert code == 1
    (said,) = [line for line in output.splitlines() if line.startswith("stream_node: ")]
    assert f"'--params-file {path}'" in said
    assert said.endswith(words)
