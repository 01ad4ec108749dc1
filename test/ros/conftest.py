"""A node that listens in this process, and replays in others."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from listening import Listener


@pytest.fixture
def listener(ros: ModuleType) -> Iterator[Listener]:
    listener = Listener(ros)
    yield listener
    listener.node.destroy_node()


@pytest.fixture
def replay(spawn: Callable[..., Any]) -> Callable[..., subprocess.Popen[str]]:
    def start(*arguments: object) -> subprocess.Popen[str]:
        command = ["-m", "infinitevggt_ros.cli", "replay", *map(str, arguments)]
        return spawn(sys.executable, *command)

    return start
