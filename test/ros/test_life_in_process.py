# SPDX-License-Identifier: Apache-2.0
"""The managed node in this process, which nobody spins: what happens between two looks of it."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.node.diagnostics import ERROR, OK, WARN, Diagnostics
from infinitevggt_ros.node.managed_node import ManagedNode
from infinitevggt_ros.node.node import StreamNode
from infinitevggt_ros.params import parameters
from infinitevggt_ros.params.settings import (
    InputSettings,
    LifecycleSettings,
    ScaleSettings,
    Settings,
    StateSettings,
)
from infinitevggt_ros.stream.stream import Stream
from support.camera import image_message
from support.listening import wait_until
from support.rig import IMAGES, PAIR, SMALL

SETTINGS = replace(
    PAIR, scale=ScaleSettings(source="depth"), lifecycle=LifecycleSettings(autostart=False)
)
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@pytest.fixture
def ros() -> Iterator[ModuleType]:
    """rclpy with a namespace of its own: services in this process outlive their node, and would
    take the first requests of later tests."""
    import rclpy

    rclpy.init(args=["--ros-args", "-r", "__ns:=/in_process"])
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture
def node(ros: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[StreamNode]:
    declare = parameters.declare
    monkeypatch.setattr(parameters, "declare", lambda node: declare(node) and SETTINGS)
    node = StreamNode()
    yield node
    assert node.worker.stop()
    node.destroy_node()


@pytest.mark.ros
def test_depth_reaches_the_stream_that_a_quick_manager_made_anew(
    node: StreamNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    node.supervise()
    before = node.worker.streams
    assert node.trigger_deactivate() == node.trigger_cleanup() == SUCCESS
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    node.supervise()
    depth = image_message(np.ones((4, 4), np.float32), 1, "32FC1")
    kept: list[str] = []
    for stream in node.worker.streams:
        assert stream not in before
        monkeypatch.setattr(
            stream.scale, "keep_depth", lambda image, camera, name=stream.name: kept.append(name)
        )
    for subscription in node.image_subscriptions:
        if subscription.topic == "/in_process/left/depth":
            subscription.on_image(depth)
    assert kept == ["left"]


@pytest.mark.ros
def test_another_network_is_loaded_after_a_cleanup(node: StreamNode) -> None:
    wider = Parameter("model.image_size", value=56)

    def sizes() -> list[int]:
        return [stream.settings.model.image_size for stream in node.worker.streams]

    assert node.trigger_configure() == SUCCESS
    refused = node.set_parameters([wider])[0]
    assert not refused.successful
    assert "it is inactive: deactivate it and clean it up before" in refused.reason
    assert node.set_parameters([Parameter("model.image_size", value=28)])[0].successful, "as it is"
    assert sizes() == [28, 28]
    assert node.trigger_cleanup() == SUCCESS
    assert node.set_parameters([wider])[0].successful
    assert node.trigger_configure() == SUCCESS
    assert sizes() == [56, 56]
    assert node.status.model.image_size == 56


@pytest.mark.ros
def test_where_one_stream_cannot_rest_none_does(
    node: StreamNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    awake: set[str] = set()

    def sleep(stream: Stream) -> None:
        if stream.name == "right":
            raise RuntimeError("no room in the host")
        awake.discard(stream.name)

    assert node.trigger_configure() == SUCCESS
    monkeypatch.setattr(Stream, "wake", lambda stream: awake.add(stream.name))
    monkeypatch.setattr(Stream, "sleep", sleep)
    assert node.trigger_activate() == SUCCESS
    assert node.trigger_deactivate() == FAILURE
    assert (node.lifecycle_state, node.worker.is_active) == ("active", True)
    assert awake == {"left", "right"}
    assert "right: no room in the host" in node.problem


@pytest.mark.ros
def test_nothing_is_forgotten_that_could_not_be_saved(
    ros: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "none yet" / "state.pt"
    settings = replace(Settings(model=SMALL), state=StateSettings(path=str(path)))
    settings = replace(settings, lifecycle=LifecycleSettings(autostart=False))
    monkeypatch.setattr(parameters, "declare", lambda node: settings)
    path.parent.mkdir()
    node = StreamNode()
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    path.parent.rmdir()
    node.worker.receive(image_message(IMAGES[0], 1), node.cameras[0])
    wait_until(lambda: node.cameras[0].processed == 1)
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == FAILURE
    assert (node.lifecycle_state, len(node.worker.streams)) == ("inactive", 1)
    assert "none yet" in node.problem
    of_stream, of_calibration = node.diagnostics.statuses_of(node.cameras[0], 0)[1:3]
    assert (of_stream.level, "none yet" in of_stream.message) == (ERROR, True)
    assert (of_calibration.level, "uncalibrated" in of_calibration.message) == (WARN, True)

    path.parent.mkdir()
    assert node.trigger_cleanup() == SUCCESS
    assert path.exists()
    of_stream, of_calibration = node.diagnostics.statuses_of(node.cameras[0], 0)[1:3]
    assert of_stream.message == "unconfigured: there is no stream"
    assert (of_calibration.level, of_calibration.message) == (OK, "no image yet")
    assert node.status.latest[""].frames_processed == 1
    node.destroy_node()


@pytest.mark.ros
def test_while_no_image_is_used_the_status_of_each_camera_comes_every_few_seconds(
    node: StreamNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, said = [100.0], []
    monkeypatch.setattr(
        "infinitevggt_ros.node.node.time", SimpleNamespace(monotonic=lambda: now_s[0])
    )
    monkeypatch.setattr(
        node.worker, "publish_idle_status", lambda camera: said.append((now_s[0], camera.name))
    )
    for _ in range(50):
        node.supervise()
        now_s[0] += 0.125
    times = [100.0, 102.0, 104.0, 106.0]
    assert said == [(at_s, name) for at_s in times for name in ("left", "right")]


@pytest.mark.ros
def test_a_manager_that_was_quicker_has_the_node(ros: ModuleType) -> None:
    node = ManagedNode("managed")
    assert node.trigger_configure() == SUCCESS
    reasons: list[str] = []
    node.start_itself(reasons.append)
    wait_until(lambda: not node.is_starting_itself or bool(reasons))
    assert (reasons, node.lifecycle_state) == ([], "inactive")
    node.destroy_node()


def test_a_pause_is_no_silence() -> None:
    worker: Any = SimpleNamespace(is_paused=True, stream=None, stream_of=lambda camera: None)
    node: Any = SimpleNamespace(
        create_publisher=lambda *_: None,
        create_timer=lambda *_, **__: None,
        get_fully_qualified_name=lambda: "/node",
        lifecycle_state="active",
    )
    report: Any = SimpleNamespace(latest={}, latest_used={})
    camera = Camera("", "/image", InputSettings(), lambda *_: None)
    diagnostics = Diagnostics(node, worker, report, [camera], lambda: (0.0, ""))
    start_s, levels = time.monotonic(), []
    for after_s in (100, 101, 107):
        levels.append(diagnostics.statuses_of(camera, start_s + after_s)[0].level)
        worker.is_paused = False
    assert levels == [OK, OK, ERROR]
    statuses = diagnostics.statuses_of(camera, start_s)
    assert {status.hardware_id for status in statuses} == {""}, "the node has no serial number"
