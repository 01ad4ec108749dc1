# SPDX-License-Identifier: Apache-2.0
"""A node that listens in this process, replays in others, and an evaluated bag."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from infinitevggt_ros.commands import cli
from support.bag_evaluation import FRAMES, HEIGHT, SEED, WIDTH, evaluate
from support.browser import browser_page
from support.camera import Camera, Spawn
from support.listening import Listener


@pytest.fixture
def listener(ros: ModuleType) -> Iterator[Listener]:
    listener = Listener(ros)
    yield listener
    listener.node.destroy_node()


@pytest.fixture
def camera(listener: Listener, spawn: Spawn) -> Camera:
    """That a node in another process listens to."""
    spawn("stream_node", "--ros-args", "-p", "output.map_period:=0.05", "-p", "files.root:=/")
    camera = Camera(listener)
    camera.wait_for_node()
    return camera


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "infinitevggt_ros.commands.cli", *map(str, arguments)]
        processes.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def page() -> Iterator[Any]:
    """A page in a headless Chromium."""
    with browser_page() as page:
        yield page


@pytest.fixture
def replay(spawn: Callable[..., Any]) -> Callable[..., subprocess.Popen[str]]:
    def start(*arguments: object) -> subprocess.Popen[str]:
        command = ["-m", "infinitevggt_ros.commands.cli", "replay", *map(str, arguments)]
        return spawn(sys.executable, *command)

    return start


@pytest.fixture(scope="session")
def world_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "world.mcap"
    options = ["--seed", str(SEED), "--frames", str(FRAMES), "--level", "easy"]
    assert cli.main(["synthetic-bag", *options, "--size", f"{HEIGHT}x{WIDTH}", str(path)]) == 0
    return path


@pytest.fixture(scope="session")
def whole_run(world_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "report"
    assert evaluate(world_bag, "--out", out, "--total-budget", "1500") == 0
    return out
