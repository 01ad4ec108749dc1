# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: a ROS domain, and ROS in this process or in others."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from infinitevggt_ros.processor import use_passive_waits

use_passive_waits()  # before anything imports torch
# no deadline: how long an example takes depends on what else the machine does
settings.register_profile("repository", deadline=None, derandomize=True)
settings.load_profile("repository")


def free_domain() -> tuple[int, socket.socket]:
    """A ROS domain no other test run on this machine uses: the bound port is the lock."""
    for domain in range(1, 102):
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", 27400 + domain))
        except OSError:
            lock.close()
        else:
            return domain, lock
    raise RuntimeError("all ROS domains are in use")


# before anything imports rclpy; the lock is held while this process lives
DOMAIN, LOCK = free_domain()
os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
# helper scripts in processes of their own import `support` too
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
)
# exported graphs of earlier runs would decide which engine decodes
CACHE = tempfile.TemporaryDirectory(prefix="infinitevggt_test_")
os.environ["XDG_CACHE_HOME"] = CACHE.name
os.environ.setdefault("ROS_LOG_DIR", str(Path(tempfile.gettempdir(), f"ros_log_{os.getuid()}")))


@pytest.fixture
def ros() -> Iterator[ModuleType]:
    """rclpy, initialised, with a domain of this test run."""
    import rclpy

    rclpy.init()
    yield rclpy
    rclpy.try_shutdown()


def executable(name: str) -> str:
    """Path of one of our commands: where colcon installs it, or beside this Python."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    places = [str(Path(prefix, "lib", "infinitevggt_ros")) for prefix in prefixes if prefix]
    found = shutil.which(name, path=os.pathsep.join([*places, str(Path(sys.executable).parent)]))
    assert found, f"{name} is not installed"
    return found


def plain_process(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def spawn(pytestconfig: pytest.Config) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts our commands, spawn("stream_node", "--ros-args", ...), and ends them afterwards.

    They are plain processes, or those of launch where test_launch_scenarios.py runs the test.
    """
    launched = pytestconfig.pluginmanager.get_plugin("launched")
    start_process = launched.start if launched else plain_process
    processes: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: str) -> subprocess.Popen[str]:
        processes.append(start_process([executable(name), *arguments]))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
