# SPDX-License-Identifier: Apache-2.0
"""Parameters of another node: known as they change, set to the latest wish."""

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
"""A call without an answer is given up."""
OnValue = Callable[[str, Any, ParameterDescriptor], None]


class RemoteParameters:
    """One call at a time, so that a slider that is dragged asks for where it is, not where it was.

    `wish` may be called from any thread; all else belongs to the node's executor.
    """

    def __init__(
        self,
        node: Node,
        remote: str,
        names: Sequence[str],
        on_value: OnValue,
        on_refusal: Callable[[str, str], None],
    ) -> None:
        """on_value(name, value, descriptor): it is this now. on_refusal(name, reason)."""
        self._remote, self._names = remote, list(names)
        self._on_value, self._on_refusal = on_value, on_refusal
        self._client = AsyncParameterClient(node, remote)
        self._client.on_parameter_event(self._on_event)
        self._descriptors: dict[str, ParameterDescriptor] = {}
        self._values: dict[str, Any] = {}
        self._wishes: dict[str, Any] = {}
        self._lock = Lock()
        self._call: Future[Any] | None = None
        self._give_up_s = 0.0

    @property
    def is_known(self) -> bool:
        return len(self._values) == len(self._names)

    def wish(self, name: str, value: Any) -> None:
        """Ask for a value; an older wish for the same parameter is forgotten."""
        with self._lock:
            self._wishes[name] = value

    def serve(self) -> None:
        """Make the next call, if there is one to make. To be called again and again."""
        if not self._client.services_are_ready():
            self._call = None
            self._values.clear()  # a node that comes back may have others
            return
        if self._call is not None and time.monotonic() < self._give_up_s:
            return
        if len(self._descriptors) < len(self._names):
            self._start(self._client.describe_parameters(self._names), self._described)
        elif not self.is_known:
            self._start(self._client.get_parameters(self._names), self._got)
        elif wishes := self._taken_wishes():
            parameters = [Parameter(name, value=value) for name, value in wishes.items()]
            call = self._client.set_parameters(parameters)
            self._start(call, lambda response: self._set(wishes, response))

    def _taken_wishes(self) -> dict[str, Any]:
        with self._lock:
            wishes, self._wishes = self._wishes, {}
        return wishes

    def _start(self, call: Future[Any], use: Callable[[Any], None]) -> None:
        def done(future: Future[Any]) -> None:
            if future is self._call:  # else it was given up
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

    def _set(self, wishes: dict[str, Any], response: SetParameters.Response) -> None:
        for (name, value), result in zip(wishes.items(), response.results, strict=False):
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
            is_outdated = name in self._wishes
        if not is_outdated:
            self._on_value(name, value, self._descriptors[name])
