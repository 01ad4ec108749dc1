# SPDX-License-Identifier: Apache-2.0
"""The policies by name, and which one bounds the camera head's memory."""

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from infinitevggt_core.config import check_options
from infinitevggt_core.memory.policies.base import POLICIES, RetentionPolicy, load_entry_points
from infinitevggt_core.memory.policies.diversity import Diversity
from infinitevggt_core.memory.policies.frames import Frames
from infinitevggt_core.memory.policies.full import Full
from infinitevggt_core.memory.policies.importance import Importance
from infinitevggt_core.memory.policies.window import Window

if TYPE_CHECKING:
    from infinitevggt_core.memory.config import MemoryConfig

__all__ = [
    "POLICIES",
    "Diversity",
    "Frames",
    "Full",
    "Importance",
    "Window",
    "camera_policy",
    "token_policy",
]

load_entry_points()


def token_policy(config: "MemoryConfig") -> RetentionPolicy:
    """What the global layers keep. A policy's fields are taken from the settings of the same name
    and from `policy_options`. Raises ValueError naming what is wrong with those."""
    kind = POLICIES[config.policy]
    own = {spec.name: spec.default for spec in fields(kind) if spec.default is not MISSING}
    shared = {
        spec.name: getattr(config, spec.name) for spec in fields(kind) if spec.name not in own
    }
    policy = kind(**shared, **_own_settings(config, own))
    check_options(policy)
    return policy


def camera_policy(config: "MemoryConfig") -> Window:
    """What the camera head keeps: the latest frames, as many as the token policy says."""
    frames = token_policy(config).camera_frames(config.camera_frames)
    return Window(min(frames, config.camera_frames) if config.limit_mb else frames)


def _own_settings(config: "MemoryConfig", defaults: dict[str, Any]) -> dict[str, Any]:
    """The `policy_options`, "name=value, name=value", each of the type of its default."""
    values: dict[str, Any] = {}
    for part in filter(None, config.policy_options.replace(" ", "").split(",")):
        name, _, text = part.partition("=")
        if name not in defaults:
            names = ", ".join(defaults) or "none"
            raise ValueError(f"policy {config.policy} has no option {name!r}; it has: {names}")
        try:
            values[name] = type(defaults[name])(text)
        except ValueError as error:
            raise ValueError(f"option {name} of policy {config.policy}: {error}") from error
    return values
