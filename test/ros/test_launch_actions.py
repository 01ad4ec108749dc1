# SPDX-License-Identifier: Apache-2.0
"""Processes that stream.launch.py starts, and its answer when one ends; launch is not needed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.launch_stand_in import Made, load_launch_file

LAUNCH_FILE = Path(__file__).parents[2] / "launch" / "stream.launch.py"


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_launch_file(LAUNCH_FILE, monkeypatch)


def started(launch_file: Any, **arguments: str) -> list[Made]:
    """Return what is started with arguments other than the defaults."""
    defaults = {name: default for name, (default, _) in launch_file.ARGUMENTS.items()}
    actions: list[Made] = launch_file.processes({**defaults, **arguments})
    return actions


def after(action: Made, status: int, *, is_shutdown: bool = False) -> list[Made]:
    """Return the actions after the end of a node with an exit status."""
    event, context = SimpleNamespace(returncode=status), SimpleNamespace(is_shutdown=is_shutdown)
    actions: list[Made] = action.options["on_exit"](event, context)
    return actions


def test_without_rviz2_nothing_is_started(launch_file: Any) -> None:
    def absent(package: str) -> str:
        raise launch_file.PackageNotFoundError(package)

    launch_file.get_package_prefix = absent
    with pytest.raises(RuntimeError, match="the package rviz2 is not installed"):
        started(launch_file, rviz="true")
    assert [action.options["executable"] for action in started(launch_file)] == ["stream_node"]


def test_with_rviz2_it_is_started_beside_the_node(launch_file: Any) -> None:
    launch_file.get_package_prefix = lambda package: "/prefix"
    actions = started(launch_file, rviz="yes")
    assert [action.options["executable"] for action in actions] == ["stream_node", "rviz2"]


@pytest.mark.parametrize(("keep", "expected"), [("false", "Shutdown"), ("true", "LogInfo")])
def test_after_the_bag_the_rest_ends_unless_it_is_kept(
    launch_file: Any, keep: str, expected: str
) -> None:
    _, player = started(launch_file, bag="room.mcap", keep=keep)
    assert player.options["name"] == "player"
    assert player.options["on_exit"].kind == expected


@pytest.mark.parametrize("status", [-6, -9, -11, 2])
def test_a_node_that_crashes_starts_again_as_it_was(launch_file: Any, status: int) -> None:
    (node,) = started(launch_file, state_path="map.pt")
    for _ in range(3):
        said, timer = after(node, status)
        assert f"crashed with status {status} and starts again" in said.options["msg"]
        assert timer.options["period"] == launch_file.RESPAWN_DELAY_S
        (again,) = timer.options["actions"]
        assert {**again.options, "on_exit": None} == {**node.options, "on_exit": None}
        node = again


@pytest.mark.parametrize(
    ("status", "is_shutdown", "arguments"),
    [
        (0, False, {}),
        (1, False, {}),
        (-2, True, {}),
        (-11, False, {"bag": "room.mcap"}),
    ],
    ids=["told to end", "cannot start", "Ctrl-C", "while a bag plays"],
)
def test_everything_ends_with_a_node_that_must_not_start_again(
    launch_file: Any, status: int, is_shutdown: bool, arguments: dict[str, str]
) -> None:
    node = started(launch_file, **arguments)[0]
    (action,) = after(node, status, is_shutdown=is_shutdown)
    assert action.kind == "Shutdown"


def test_the_home_directory_has_a_short_name(
    launch_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("")
    node, player = started(launch_file, params_file="~/mine.yaml", bag="~/room.mcap")
    assert node.options["parameters"][0] == str(tmp_path / "mine.yaml")
    assert str(tmp_path / "room.mcap") in player.options["cmd"]


def test_a_prefix_is_that_of_the_maps_and_the_robots_frames(launch_file: Any) -> None:
    [node] = started(launch_file, namespace="robot1", frame_prefix="robot1/")
    [given] = [item for item in node.options["parameters"] if isinstance(item, dict)]
    assert node.options["namespace"] == "robot1"
    assert {name: given[f"tf.{name}_frame"] for name in ("map", "odom", "base")} == {
        "map": "robot1/map",
        "odom": "robot1/odom",
        "base": "robot1/base_link",
    }
    [plain] = started(launch_file)
    assert not any("tf.map_frame" in item for item in plain.options["parameters"])
