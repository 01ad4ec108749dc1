# SPDX-License-Identifier: Apache-2.0
"""Construction of policies by name."""

from dataclasses import MISSING, fields
from typing import Any

from infinitevggt_core.config import check_options
from infinitevggt_core.memory.policies.base import POLICIES, RetentionPolicy, load_entry_points
from infinitevggt_core.memory.policies.diversity import Diversity
from infinitevggt_core.memory.policies.frames import Frames
from infinitevggt_core.memory.policies.full import Full
from infinitevggt_core.memory.policies.importance import Importance
from infinitevggt_core.memory.policies.trajectory import Trajectory
from infinitevggt_core.memory.policies.window import Window

__all__ = [
    "POLICIES",
    "Diversity",
    "Frames",
    "Full",
    "Importance",
    "Trajectory",
    "Window",
    "make_policy",
]

load_entry_points()


def make_policy(name: str, options: str, settings: Any) -> RetentionPolicy:
    """Construct the policy `name`.

    options: "name=value, name=value", the policy's own settings. settings: an object from whose
    attributes the other fields of the policy are taken. Raises ValueError naming the option that is
    wrong.
    """
    kind = POLICIES[name]
    defaults = {spec.name: spec.default for spec in fields(kind) if spec.default is not MISSING}
    shared = {
        spec.name: getattr(settings, spec.name)
        for spec in fields(kind)
        if spec.name not in defaults
    }
    policy = kind(**shared, **_parse_options(name, options, defaults))
    check_options(policy)
    return policy


def _parse_options(policy: str, options: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """Parse "name=value, name=value", each value to the type of its default."""
    values: dict[str, Any] = {}
    for part in filter(None, options.replace(" ", "").split(",")):
        name, _, text = part.partition("=")
        if name not in defaults:
            names = ", ".join(defaults) or "none"
            raise ValueError(f"policy {policy} has no option {name!r}; it has: {names}")
        try:
            values[name] = type(defaults[name])(text)
        except ValueError as error:
            raise ValueError(f"option {name} of policy {policy}: {error}") from error
    return values
