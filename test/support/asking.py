# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node, from a test."""

from typing import Any

import yaml
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient

from support.camera import NODE
from support.listening import Listener


def parameter_client(listener: Listener) -> AsyncParameterClient:
    client = AsyncParameterClient(listener.node, NODE)
    listener.spin_until(client.services_are_ready)
    return client


def set_parameter(
    listener: Listener, client: AsyncParameterClient, name: str, value: object
) -> SetParametersResult:
    future = client.set_parameters([Parameter(name, value=value)])
    listener.spin_until(future.done)
    return future.result().results[0]


def parameter_dump(listener: Listener, client: AsyncParameterClient) -> str:
    """Return the parameters in the format of `ros2 param dump`."""
    listed = client.list_parameters([], 0)
    listener.spin_until(listed.done)
    names = sorted(listed.result().result.names)
    asked = client.get_parameters(names)
    listener.spin_until(asked.done)
    tree: dict[str, Any] = {}
    for name, value in zip(names, asked.result().values, strict=True):
        *groups, last = name.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        plain = parameter_value_to_python(value)
        place[last] = list(plain) if isinstance(plain, tuple) else plain
    return yaml.safe_dump({NODE: {"ros__parameters": tree}})
