# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the packages launch and launch_ros, which PyPI lacks: they record what is made."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

MODULES = (
    "launch",
    "launch.action",
    "launch.actions",
    "launch.events",
    "launch.events.process",
    "launch.substitutions",
    "launch_ros",
    "launch_ros.actions",
    "launch_ros.parameter_descriptions",
    "launch_ros.substitutions",
)


class Made:
    """An object of launch with the arguments that it was made of."""

    kind = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.arguments, self.options = arguments, options

    def perform(self, context: dict[str, str]) -> str:
        """Return the value of a LaunchConfiguration. context: the values by their names."""
        return context[self.arguments[0]]


class StandIn(ModuleType):
    """A module in which every name is a class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Made,), {"kind": name})


def load_launch_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a launch file as a module that uses the stand-ins."""
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, StandIn(name))
    spec = importlib.util.spec_from_file_location("launch_file", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
