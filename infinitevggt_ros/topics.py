# SPDX-License-Identifier: Apache-2.0
"""Names of topics."""

IMAGE_TOPIC = "/camera/image_raw"
INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/camera/depth/image_raw"
ODOMETRY_TOPIC = "/odometry"

NODE_NAME = "/infinitevggt"
"""Default name of stream_node, in which its own topics are."""
NODE_ODOMETRY = f"{NODE_NAME}/odometry"
NODE_DEPTH = f"{NODE_NAME}/depth/image"
NODE_STATUS = f"{NODE_NAME}/status"
NODE_MAP = f"{NODE_NAME}/map"
RESULT_TOPICS = {
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    NODE_ODOMETRY: "nav_msgs/msg/Odometry",
    NODE_DEPTH: "sensor_msgs/msg/Image",
    f"{NODE_NAME}/depth/camera_info": "sensor_msgs/msg/CameraInfo",
    f"{NODE_NAME}/depth/confidence": "sensor_msgs/msg/Image",
    NODE_STATUS: "infinitevggt_ros/msg/StreamStatus",
    NODE_MAP: "sensor_msgs/msg/PointCloud2",
}
"""Topics of a result bag and their types."""


def topic_of(camera: str, topic: str) -> str:
    """Return the topic of one camera of a rig; `topic` itself if there is one camera without a
    name."""
    return f"{camera}/{topic}" if camera else topic
