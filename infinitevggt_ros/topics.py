# SPDX-License-Identifier: Apache-2.0
"""Names of topics and frames."""

IMAGE_TOPIC = "/camera/image_raw"
INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/camera/depth/image_raw"
ODOMETRY_TOPIC = "/odometry"

NODE_NAME = "/infinitevggt"
"""Default name of stream_node, in which its own topics are."""
NODE_ODOMETRY = f"{NODE_NAME}/odometry"
NODE_DEPTH = f"{NODE_NAME}/depth/image"
NODE_DEPTH_INFO = f"{NODE_NAME}/depth/camera_info"
NODE_CONFIDENCE = f"{NODE_NAME}/depth/confidence"
NODE_POINTS = f"{NODE_NAME}/points"
NODE_STATUS = f"{NODE_NAME}/status"
NODE_MAP = f"{NODE_NAME}/map"
NODE_PATH = f"{NODE_NAME}/path"
NODE_MARKERS = f"{NODE_NAME}/markers"
TF, TF_STATIC = "/tf", "/tf_static"
RESULT_TOPICS = {
    TF: "tf2_msgs/msg/TFMessage",
    TF_STATIC: "tf2_msgs/msg/TFMessage",
    NODE_ODOMETRY: "nav_msgs/msg/Odometry",
    NODE_DEPTH: "sensor_msgs/msg/Image",
    NODE_DEPTH_INFO: "sensor_msgs/msg/CameraInfo",
    NODE_CONFIDENCE: "sensor_msgs/msg/Image",
    NODE_STATUS: "infinitevggt_ros/msg/StreamStatus",
    NODE_MAP: "sensor_msgs/msg/PointCloud2",
}
"""Topics of a result bag and their types."""

DEFAULT_FRAME = "camera_optical_frame"
"""Frame of images whose header names none."""


def topic_of(camera: str, topic: str) -> str:
    """Return the topic of one camera of a rig; `topic` itself if there is one camera without a
    name."""
    return f"{camera}/{topic}" if camera else topic


def frame_name(frame_id: str) -> str:
    """Return a frame name as tf2 stores it: without a leading slash."""
    return frame_id.removeprefix("/")
