# SPDX-License-Identifier: Apache-2.0
"""Hearing other processes from a test."""

import subprocess
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rcl_interfaces.srv import GetParameters

PATIENCE_S = 120.0
"""Longest wait for an event. A test that passes never waits so long: where all cores are busy, a
node needs a minute to import PyTorch."""
ASK_AGAIN_S = 5.0


class Listener:
    """A node of this process that keeps what it hears."""

    def __init__(self, ros: ModuleType) -> None:
        self.node = ros.create_node("listener")
        self._ros = ros

    def listen(self, message_type: Any, topic: str, *, latched: bool = False) -> list[Any]:
        """A list that grows by what is published on `topic`."""
        from rclpy.qos import DurabilityPolicy, QoSProfile

        heard: list[Any] = []
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=10, durability=durability)
        self.node.create_subscription(message_type, topic, heard.append, qos)
        return heard

    def spin_until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, "timed out"
            self._ros.spin_once(self.node, timeout_sec=0.05)

    def meet(self, node: str) -> None:
        """Wait until a node knows the publishers and subscriptions of this one, and has done what
        it was sent before.

        It hears of them in their order: a client comes last, and what it asks is answered after
        all else. A first question may be lost, and is repeated.
        """
        client = self.node.create_client(GetParameters, f"{node}/get_parameters")
        self.spin_until(client.service_is_ready)
        asked: list[Any] = []
        asked_s = 0.0

        def is_answered() -> bool:
            nonlocal asked_s
            if time.monotonic() > asked_s + ASK_AGAIN_S:
                asked_s = time.monotonic()
                asked.append(client.call_async(GetParameters.Request()))
            return any(future.done() for future in asked)

        self.spin_until(is_answered)
        self.node.destroy_client(client)

    def spin_for(self, duration_s: float) -> None:
        deadline_s = time.monotonic() + duration_s
        while time.monotonic() < deadline_s:
            self._ros.spin_once(self.node, timeout_sec=0.02)


def wait_until(condition: Callable[[], bool]) -> None:
    """For what happens in another thread of this process."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.01)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in output, output
    return process.returncode, output
