# SPDX-License-Identifier: Apache-2.0
"""Private names of rclpy that the node uses: each test says what breaks where they change."""

from collections.abc import Iterator
from types import ModuleType

import pytest
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo

from infinitevggt_ros.params import rclpy_compat

pytestmark = pytest.mark.ros


@pytest.fixture
def ros() -> Iterator[ModuleType]:
    import rclpy

    rclpy.init(args=["--ros-args", "-p", "given:=7", "-r", "__ns:=/compat"])
    yield rclpy
    rclpy.try_shutdown()


def test_misspelt_parameters_and_qos_overrides_are_found(ros: ModuleType) -> None:
    """Node._parameter_overrides: else a misspelt parameter is ignored silently."""
    node = Node("compat")
    assert rclpy_compat.parameter_overrides(node)["given"].value == 7
    assert not node.has_parameter("given")
    node.destroy_node()


def test_the_state_of_the_life_cycle_is_known(ros: ModuleType) -> None:
    """LifecycleNodeMixin._state_machine: else diagnostics, status and parameters do not know it."""
    node = LifecycleNode("compat")
    assert rclpy_compat.lifecycle_state(node) == "unconfigured"
    node.trigger_configure()
    assert rclpy_compat.lifecycle_state(node) == "inactive"
    node.destroy_node()


def test_transitions_can_leave_the_executor(ros: ModuleType) -> None:
    """The service's callback: else loading a checkpoint blocks the executor for minutes."""
    node = LifecycleNode("compat")
    service = rclpy_compat.change_state_service(node.services)
    assert service.srv_name.endswith("/change_state")
    before = service.callback
    service.callback = lambda request, response: response
    assert service.callback is not before
    node.destroy_node()


@pytest.mark.parametrize("is_emulated", [False, True], ids=["genuine", "Humble"])
def test_changes_follow_parameters_that_were_set_and_no_others(
    ros: ModuleType, monkeypatch: pytest.MonkeyPatch, is_emulated: bool
) -> None:
    """Node.add_post_set_parameters_callback, which Humble lacks: else changes have no effect."""
    if is_emulated:
        monkeypatch.delattr(Node, "add_post_set_parameters_callback")
    node = Node("compat")
    node.declare_parameter("number", 1)
    heard: list[tuple[int, int]] = []

    def check(changes: list[Parameter]) -> SetParametersResult:
        return SetParametersResult(successful=changes[0].value < 10, reason="too large")

    def apply(changes: list[Parameter]) -> None:
        heard.append((changes[0].value, node.get_parameter("number").value))

    node.add_on_set_parameters_callback(check)
    rclpy_compat.add_post_set_parameters_callback(node, apply)
    assert node.set_parameters([Parameter("number", value=2)])[0].successful
    assert not node.set_parameters([Parameter("number", value=20)])[0].successful
    assert node.set_parameters_atomically([Parameter("number", value=3)]).successful
    assert heard == [(2, 2), (3, 3)]
    node.destroy_node()


@pytest.mark.parametrize("is_emulated", [False, True], ids=["genuine", "Humble"])
def test_a_subscription_may_be_silent_on_publishers_that_do_not_fit(
    ros: ModuleType, monkeypatch: pytest.MonkeyPatch, is_emulated: bool
) -> None:
    """rclpy.event_handler, which is rclpy.qos_event in Humble: else rclpy warns of each of them."""
    if is_emulated:
        monkeypatch.setattr(rclpy_compat, "find_spec", lambda _name: None)
    node = Node("compat")
    callbacks = rclpy_compat.no_event_callbacks()
    subscription = node.create_subscription(
        CameraInfo, "topic", lambda _: None, 1, event_callbacks=callbacks
    )
    assert subscription.event_handlers == []
    node.destroy_node()
