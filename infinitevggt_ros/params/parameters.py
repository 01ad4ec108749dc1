# SPDX-License-Identifier: Apache-2.0
"""ROS parameters from the settings' dataclasses, and back. No default is written here."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import Field, fields, replace
from difflib import get_close_matches
from types import UnionType
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from infinitevggt_ros.params.rclpy_compat import parameter_overrides
from infinitevggt_ros.params.settings import (
    LIVE_GROUPS,
    LIVE_PARAMETERS,
    LOADED_GROUPS,
    Settings,
)


def parameter_fields() -> Iterator[tuple[str, str, Field[Any], Any]]:
    """Parameter name, group, dataclass field and default value of every parameter."""
    defaults = Settings()
    for group in fields(Settings):
        settings = getattr(defaults, group.name)
        for spec in fields(settings):
            name = spec.name if group.name == "input" else f"{group.name}.{spec.name}"
            yield name, group.name, spec, getattr(settings, spec.name)


def declare(node: Node) -> Settings:
    """Declare every parameter with its descriptor; the settings as files and arguments set them."""
    values = [
        Parameter(
            name, value=node.declare_parameter(name, default, descriptor(spec, group, name)).value
        )
        for name, group, spec, default in parameter_fields()
    ]
    return with_changes(Settings(), values)


def unknown(node: Node) -> list[str]:
    """Return a warning for each given parameter that nobody declared: rclpy ignores it silently.

    Parameters of rclpy itself, as `ros2 param dump` writes them, are declared by the node.
    """
    known = [name for name, *_ in parameter_fields()]
    given = {name for name in parameter_overrides(node) if not node.has_parameter(name)}
    texts = []
    for name in sorted(name for name in given if not name.startswith("qos_overrides.")):
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        texts.append(f"there is no parameter {name}{hint}")
    return texts


def descriptor(spec: Field[Any], group: str, name: str) -> ParameterDescriptor:
    """Description, unit, range and choices of one parameter."""
    limits = spec.metadata
    result = ParameterDescriptor(description=description(spec))
    result.read_only = group not in LIVE_GROUPS + LOADED_GROUPS and name not in LIVE_PARAMETERS
    result.dynamic_typing = isinstance(spec.type, UnionType)
    if limits["choices"]:
        result.additional_constraints = "one of: " + ", ".join(limits["choices"])
    if limits["low"] is not None and isinstance(spec.default, float):
        low, high = float(limits["low"]), float(limits["high"])
        result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif limits["low"] is not None:
        low, high = int(limits["low"]), int(limits["high"])
        result.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return result


def description(spec: Field[Any]) -> str:
    """Return the effect of a parameter, with its unit."""
    unit = f" [{spec.metadata['unit']}]" if spec.metadata["unit"] else ""
    return str(spec.metadata["text"]) + unit


def with_changes(settings: Settings, parameters: Iterable[Parameter]) -> Settings:
    """The settings with some parameters changed. Raises ValueError naming one that is not valid.

    Parameters that are not ours (use_sim_time, qos_overrides) are passed over.
    """
    known = {name: (group, spec.name) for name, group, spec, _ in parameter_fields()}
    changes: dict[str, dict[str, Any]] = {}
    for parameter in parameters:
        if parameter.name in known:
            group, attribute = known[parameter.name]
            value = parameter.value
            is_list = isinstance(value, list | array)
            changes.setdefault(group, {})[attribute] = tuple(value) if is_list else value
    groups = {group: _replaced(settings, group, new) for group, new in changes.items()}
    return replace(settings, **groups)


def _replaced(settings: Settings, group: str, changes: dict[str, Any]) -> Any:
    """A group with other values. Raises ValueError, naming the parameter as a user knows it."""
    try:
        return replace(getattr(settings, group), **changes)
    except ValueError as error:
        text = str(error)
        is_of_group = group != "input" and text.partition(" ")[0] in changes
        raise ValueError(f"{group}.{text}" if is_of_group else text) from error


def differences(wanted: Settings, present: Settings) -> list[Parameter]:
    """The parameters that make `wanted` of `present`."""
    found = []
    for name, group, spec, _ in parameter_fields():
        value = getattr(getattr(wanted, group), spec.name)
        if value != getattr(getattr(present, group), spec.name):
            found.append(Parameter(name, value=value))
    return found


def as_yaml() -> str:
    """config/stream.yaml: every parameter, its meaning, unit and default."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# Every parameter of stream_node with its default. Written by",
        "#   python -m infinitevggt_ros.params.parameters > config/stream.yaml",
        "/**:",
        "  ros__parameters:",
    ]
    group_before = "input"
    for name, group, spec, default in parameter_fields():
        if group != group_before:
            lines += ["", f"    # {group}.*: {when(group)[1]}", f"    {group}:"]
            group_before = group
        indent = "    " if group == "input" else "      "
        limits = constraint(spec)
        lines.append(f"{indent}# {description(spec)}{'; ' + limits if limits else ''}")
        if name in LIVE_PARAMETERS:
            lines.append(f"{indent}# ({when(group, name)[1]})")
        lines.append(f"{indent}{name.split('.')[-1]}: {_yaml_value(default)}")
    return "\n".join(lines) + "\n"


def constraint(spec: Field[Any]) -> str:
    """Choices or range of a parameter, in words."""
    limits = spec.metadata
    if limits["choices"]:
        return "one of " + ", ".join(limits["choices"])
    if limits["low"] is not None:
        return f"{limits['low']} to {limits['high']}"
    return ""


def when(group: str, name: str = "") -> tuple[str, str]:
    """Parameters change: whether while the node runs, and in words."""
    if group in LIVE_GROUPS or name in LIVE_PARAMETERS:
        return "yes", "change while it runs"
    if group in LOADED_GROUPS:
        return "unconfigured", "change while it is unconfigured"
    return "no", "read-only"


def as_markdown() -> str:
    """The table of parameters for the README."""
    rows = ["| parameter | default | range | while running | meaning |", "|---|---|---|---|---|"]
    for name, group, spec, default in parameter_fields():
        value = f"`{default}`" if default not in ("", ("",)) else "empty"
        text = description(spec).replace("|", "\\|")
        rows.append(
            f"| `{name}` | {value} | {constraint(spec)} | {when(group, name)[0]} | {text} |"
        )
    return "\n".join(rows)


def _yaml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml_value, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    print(as_yaml(), end="")
