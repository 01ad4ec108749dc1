# SPDX-License-Identifier: Apache-2.0
"""The only uses of rclpy's private names and of names that differ between ROS versions, each with a
test in test/ros/test_rclpy_compat.py."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNodeMixin
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.service import Service


def parameter_overrides(node: Node) -> Mapping[str, Parameter]:
    """Return the parameters given by files and arguments, declared or not."""
    return dict(node._parameter_overrides)


def lifecycle_state(node: LifecycleNodeMixin) -> str:
    """Return the label of the node's state (lifecycle_msgs/State): unconfigured, inactive, ..."""
    return str(node._state_machine.current_state[1])


def change_state_service(services: Iterable[Service]) -> Service:
    """Return the service that requests a transition, whose `callback` may be replaced."""
    return next(service for service in services if service.srv_type is ChangeState)


def add_post_set_parameters_callback(
    node: Node, callback: Callable[[list[Parameter]], None]
) -> None:
    """Call `callback` after parameters were set and stored.

    rclpy of Humble has no such callback. There, the method that stores parameters is wrapped: every
    way to set them, services included, passes it.
    """
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_post_set_parameters_callback(callback)
        return
    set_atomically = node._set_parameters_atomically

    def set_and_call(parameters: list[Parameter], *args: Any, **options: Any) -> Any:
        result = set_atomically(parameters, *args, **options)
        if result.successful:
            callback(parameters)
        return result

    node._set_parameters_atomically = set_and_call


def no_event_callbacks() -> Any:
    """Return the `event_callbacks` of a subscription that says nothing of incompatible publishers.

    Their module has another name in Humble.
    """
    name = "rclpy.event_handler" if find_spec("rclpy.event_handler") else "rclpy.qos_event"
    return import_module(name).SubscriptionEventCallbacks(use_default_callbacks=False)
