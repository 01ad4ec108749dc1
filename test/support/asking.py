# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node, from a test."""

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
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
