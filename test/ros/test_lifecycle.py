# SPDX-License-Identifier: Apache-2.0
"""The node under a lifecycle manager: a process of its own, over real DDS."""

import signal
import sys

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import Image, PointCloud2
from std_srvs.srv import Trigger

from infinitevggt_ros.msg import StreamStatus
from support.camera import Camera, Spawn, film, image_message
from support.listening import Listener, finish
from support.node_process import BROKEN_NODE, NODE, PROCESSED, call

pytestmark = pytest.mark.ros
MANAGED = "--ros-args", "-p", "lifecycle.autostart:=false"


class Manager:
    """Transitions as a lifecycle manager requests them."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.logs = listener.listen(Log, "/rosout")

    @property
    def state(self) -> str:
        return call(self._listener, GetState, "get_state", GetState.Request()).current_state.label

    def change(self, transition: str) -> bool:
        """Return True if the transition succeeded."""
        request = ChangeState.Request()
        request.transition.label = transition
        return call(self._listener, ChangeState, "change_state", request).success

    def wait_for_log(self, words: str) -> None:
        self._listener.spin_until(lambda: any(words in log.msg for log in self.logs))


@pytest.fixture
def manager(listener: Listener) -> Manager:
    return Manager(listener)


def test_a_whole_life(listener: Listener, spawn: Spawn, manager: Manager) -> None:
    process = spawn("stream_node", *MANAGED, "-p", "output.map_period:=0.05")
    clouds = listener.listen(PointCloud2, f"{NODE}/map", latched=True)
    diagnostics = listener.listen(DiagnosticArray, "/diagnostics")
    camera, images = Camera(listener), film(6)

    def is_said(words: str) -> bool:
        return bool(diagnostics) and any(words in s.message for s in diagnostics[-1].status)

    assert manager.state == "unconfigured"
    refused = call(listener, Trigger, "reset", Trigger.Request())
    assert (refused.success, "configure the node first" in refused.message) == (False, True)
    listener.spin_until(lambda: is_said("unconfigured: there is no stream"))
    assert not manager.change("activate")
    assert manager.change("configure")
    assert manager.state == "inactive"
    listener.spin_until(
        lambda: any(
            (status.lifecycle_state, status.outcome) == ("inactive", StreamStatus.NO_IMAGE)
            for status in camera.statuses
        ),
    )
    assert camera.publisher.get_subscription_count() == 0
    assert manager.change("activate")
    camera.wait_for_node()
    first = camera.send_film(images[:3])
    assert (first.frame_index, first.lifecycle_state) == (3, "active")

    assert manager.change("deactivate")
    listener.spin_until(lambda: camera.publisher.get_subscription_count() == 0)
    listener.spin_until(lambda: is_said("inactive: images are not used"))
    assert manager.change("activate")
    camera.wait_for_node()
    again = camera.send_film(images[3:4], start_ns=2 * 10**9)
    assert (again.frame_index, again.map_id) == (4, 0), "the same world"
    assert sum(again.stored_tokens) * 3 == sum(first.stored_tokens) * 4
    listener.spin_until(lambda: bool(clouds) and clouds[-1].width > 0)

    assert not manager.change("cleanup"), "an active node is not cleaned up"
    assert manager.change("deactivate")
    assert manager.change("cleanup")
    listener.spin_until(lambda: clouds[-1].width == 0)
    assert manager.change("configure")
    assert manager.change("activate")
    camera.wait_for_node()
    other = camera.send_film(images[4:5], start_ns=3 * 10**9)
    assert (other.outcome, other.frame_index, other.map_id) == (PROCESSED, 1, 1)
    assert manager.change("deactivate")
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 0


def test_a_checkpoint_that_cannot_be_loaded_fails_configure_and_not_the_node(
    spawn: Spawn, manager: Manager
) -> None:
    process = spawn("stream_node", *MANAGED, "-p", "model.checkpoint:=/nowhere/model.pt")
    for _ in range(2):
        assert not manager.change("configure")
        assert manager.state == "unconfigured"
    manager.wait_for_log("configure failed: /nowhere/model.pt: no such file")
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 0


def test_the_node_answers_and_leaves_while_configure_takes_its_time(
    listener: Listener, spawn: Spawn, manager: Manager
) -> None:
    process = spawn(sys.executable, BROKEN_NODE, "loading", *MANAGED)
    client = listener.node.create_client(ChangeState, f"{NODE}/change_state")
    listener.spin_until(client.service_is_ready)
    request = ChangeState.Request()
    request.transition.label = "configure"
    pending = client.call_async(request)
    listener.spin_until(lambda: manager.state == "configuring")
    parameters = AsyncParameterClient(listener.node, NODE)
    listener.spin_until(parameters.services_are_ready)
    asked = parameters.get_parameters(["memory.policy"])
    listener.spin_until(asked.done)
    assert not manager.change("configure"), "one at a time"
    assert not pending.done()
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 0


def test_a_device_that_is_full_fails_activate_and_not_the_node(
    spawn: Spawn, manager: Manager
) -> None:
    spawn(sys.executable, BROKEN_NODE, "full_device", *MANAGED)
    assert manager.change("configure")
    assert not manager.change("activate")
    assert manager.state == "inactive"
    manager.wait_for_log("activate failed: no room on the device")


def test_shutdown_is_answered_and_the_process_leaves(
    listener: Listener, spawn: Spawn, manager: Manager
) -> None:
    process = spawn("stream_node")
    camera = Camera(listener, Image)
    camera.wait_for_node()
    camera.send(image_message(film(1)[0], 1))
    assert manager.change("shutdown")
    assert finish(process)[0] == 0
