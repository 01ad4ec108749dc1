# SPDX-License-Identifier: Apache-2.0
"""Read and set parameters of another node."""

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, ParameterEvent
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.task import Future

PATIENCE_S = 5.0
"""A call without an answer is abandoned after this time."""
OnValue = Callable[[str, Any, ParameterDescriptor], None]


class RemoteParameters:
    """Makes one call at a time, so that a dragged slider sets its latest value only.

    `request` may be called from any thread, everything else from the node's executor.
    """

    def __init__(
        self,
        node: Node,
        remote: str,
        names: Sequence[str],
        on_value: OnValue,
        on_refusal: Callable[[str, str], None],
    ) -> None:
        """on_value: called with name, value and descriptor of a new value.

        on_refusal: called with the name and the reason.
        """
        self._remote, self._names = remote, list(names)
        self._on_value, self._on_refusal = on_value, on_refusal
        self._client = AsyncParameterClient(node, remote)
        self._client.on_parameter_event(self._on_event)
        self._descriptors: dict[str, ParameterDescriptor] = {}
        self._values: dict[str, Any] = {}
        self._requests: dict[str, Any] = {}
        self._lock = Lock()
        self._call: Future[Any] | None = None
        self._give_up_s = 0.0

    @property
    def is_known(self) -> bool:
        """True if all values have been received."""
        return len(self._values) == len(self._names)

    def request(self, name: str, value: Any) -> None:
        """Request a value; it replaces an older request for the same parameter."""
        with self._lock:
            self._requests[name] = value

    def serve(self) -> None:
        """Make the next call, if there is one. Call this periodically."""
        if not self._client.services_are_ready():
            self._call = None
            self._values.clear()  # a restarted node may have other values
            return
        if self._call is not None and time.monotonic() < self._give_up_s:
            return
        if len(self._descriptors) < len(self._names):
            self._start(self._client.describe_parameters(self._names), self._described)
        elif not self.is_known:
            self._start(self._client.get_parameters(self._names), self._got)
        elif requests := self._take_requests():
            parameters = [Parameter(name, value=value) for name, value in requests.items()]
            call = self._client.set_parameters(parameters)
            self._start(call, lambda response: self._set(requests, response))

    def _take_requests(self) -> dict[str, Any]:
        with self._lock:
            requests, self._requests = self._requests, {}
        return requests

    def _start(self, call: Future[Any], use: Callable[[Any], None]) -> None:
        def done(future: Future[Any]) -> None:
            if future is self._call:  # else it was abandoned
                self._call = None
                use(future.result())

        self._call = call
        self._give_up_s = time.monotonic() + PATIENCE_S
        call.add_done_callback(done)

    def _described(self, response: DescribeParameters.Response) -> None:
        self._descriptors = dict(zip(self._names, response.descriptors, strict=False))

    def _got(self, response: GetParameters.Response) -> None:
        for name, value in zip(self._names, response.values, strict=False):
            self._learn(name, parameter_value_to_python(value))

    def _set(self, requests: dict[str, Any], response: SetParameters.Response) -> None:
        for (name, value), result in zip(requests.items(), response.results, strict=False):
            if result.successful:
                self._learn(name, value)
            else:
                self._on_refusal(name, result.reason)
                self._learn(name, self._values[name])

    def _on_event(self, event: ParameterEvent) -> None:
        if event.node != self._remote or not self.is_known:
            return
        for parameter in [*event.new_parameters, *event.changed_parameters]:
            if parameter.name in self._descriptors:
                self._learn(parameter.name, parameter_value_to_python(parameter.value))

    def _learn(self, name: str, value: Any) -> None:
        self._values[name] = value
        with self._lock:
            is_outdated = name in self._requests
        if not is_outdated:
            self._on_value(name, value, self._descriptors[name])
