# SPDX-License-Identifier: Apache-2.0
"""Every default has one home, and everything written elsewhere agrees with it."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from rclpy.parameter import Parameter

from infinitevggt_core import MapConfig, MemoryConfig
from infinitevggt_ros.params import parameters
from infinitevggt_ros.params.settings import Settings, StateSettings

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config" / "stream.yaml"


def test_stream_yaml_is_what_the_dataclasses_say() -> None:
    assert CONFIG.read_text() == parameters.as_yaml()


def test_stream_yaml_parses_to_the_defaults() -> None:
    flat = {}
    for key, value in yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"].items():
        nested = value if isinstance(value, dict) else {"": value}
        flat |= {
            f"{key}.{name}" if name else key: tuple(item) if isinstance(item, list) else item
            for name, item in nested.items()
        }
    defaults = {name: default for name, _, _, default in parameters.parameter_fields()}
    assert flat == defaults
    assert all(type(flat[name]) is type(defaults[name]) for name in flat)


def test_memory_and_map_parameters_are_the_cores_fields() -> None:
    names = {name for name, *_ in parameters.parameter_fields()}
    assert {f"memory.{field.name}" for field in fields(MemoryConfig)} <= names
    assert {f"map.{field.name}" for field in fields(MapConfig)} <= names


def test_every_parameter_is_described() -> None:
    for name, _, spec, default in parameters.parameter_fields():
        assert parameters.description(spec), name
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert spec.metadata["low"] is not None, f"{name} has no range"


def test_changes_reach_their_group_and_leave_the_rest() -> None:
    changes = [
        Parameter("memory.window", value=7),
        Parameter("image_transport", value="compressed"),
    ]
    changed = parameters.with_changes(Settings(), [*changes, Parameter("use_sim_time", value=True)])
    assert (changed.memory.window, changed.input.image_transport) == (7, "compressed")
    assert changed.map == Settings().map


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory.window": 0}, "^memory.window must lie in"),
        ({"time.on_jump": "jump"}, "^time.on_jump must be one of reset, refuse; got 'jump'"),
        ({"image_transport": "theora"}, "^image_transport must be one of"),
        (
            {"tf.mode": "map_to_odom", "tf.odom_frame": "map"},
            "^tf.mode map_to_odom needs frames with different names; got 'map' and 'map'",
        ),
        ({"tf.map_frame": ""}, "^tf.mode auto needs frames with different names; got ''"),
    ],
)
def test_a_value_that_cannot_be_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parameters.with_changes(Settings(), [Parameter(n, value=v) for n, v in changes.items()])


def test_the_home_directory_has_a_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert StateSettings(path="~/maps/a.pt").file == tmp_path / "maps" / "a.pt"
    given = [Parameter("state.path", value="~nobody_of_this_name/a.pt")]
    with pytest.raises(
        ValueError, match=r"^state\.path cannot be used: ~nobody_of_this_name/a\.pt"
    ):
        parameters.with_changes(Settings(), given)


def test_a_map_may_be_called_odom_where_nobody_needs_another() -> None:
    named = parameters.with_changes(Settings(), [Parameter("tf.map_frame", value="odom")])
    assert named.tf.map_frame == "odom"
