# SPDX-License-Identifier: Apache-2.0
"""Hearing other processes from a test."""

import subprocess
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

PATIENCE_S = 120.0
"""Longest wait for an event. A test that passes never waits so long: where all cores are busy, a
node needs a minute to import PyTorch."""


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
