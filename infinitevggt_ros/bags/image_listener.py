# SPDX-License-Identifier: Apache-2.0
"""The node that a replay waits for: RViz and recorders subscribe to the images before it does."""

from rclpy.node import Node, NodeNameNonExistentError

from infinitevggt_ros.bags.reader import IMAGE_TYPES


def listens_to_images(graph: Node, name: str) -> bool:
    """Whether the node of that full name (`/robot/infinitevggt`) subscribes to images yet."""
    namespace, _, base_name = name.strip("/").rpartition("/")
    try:
        topics = graph.get_subscriber_names_and_types_by_node(base_name, f"/{namespace}")
    except NodeNameNonExistentError:
        return False
    return any(kind in IMAGE_TYPES for _, kinds in topics for kind in kinds)
