# SPDX-License-Identifier: Apache-2.0
"""Names of topics."""

IMAGE_TOPIC = "/camera/image_raw"
INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/camera/depth/image_raw"
ODOMETRY_TOPIC = "/odometry"


def topic_of(camera: str, topic: str) -> str:
    """A camera's own topic of this name; just the name where there is one camera, without a
    name."""
    return f"{camera}/{topic}" if camera else topic
