# SPDX-License-Identifier: Apache-2.0
"""Quality of service that a user may override topic by topic: `qos_overrides.TOPIC.publisher.depth`
and its like, as in other ROS nodes."""

from copy import copy
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from infinitevggt_ros.params.rclpy_compat import parameter_overrides

RELIABILITIES = {
    "reliable": ReliabilityPolicy.RELIABLE,
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
}
OVERRIDABLE = QoSOverridingOptions.with_default_policies()
WITHOUT_RELIABILITY = QoSOverridingOptions((QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH))


def create_publisher(node: Node, kind: type[Any], topic: str, qos: QoSProfile) -> Publisher:
    """Create a publisher with `qos`, changed by `qos_overrides`. Raises ValueError if those are
    invalid."""
    try:
        # a copy, because rclpy writes the overrides into it
        return node.create_publisher(kind, topic, copy(qos), qos_overriding_options=OVERRIDABLE)
    except RuntimeError as error:
        raise ValueError(f"qos_overrides of {topic}: {error}") from error


def asked_reliability(node: Node, topic: str) -> str:
    """Return the reliability that `qos_overrides` request of a subscription; empty if none. Raises
    ValueError."""
    name = f"qos_overrides.{topic}.subscription.reliability"
    asked = parameter_overrides(node).get(name)
    reliability = "" if asked is None else str(asked.value).lower()
    if reliability not in ("", *RELIABILITIES):
        raise ValueError(f"{name} must be one of {', '.join(RELIABILITIES)}; got {reliability}")
    return reliability
