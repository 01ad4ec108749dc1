# SPDX-License-Identifier: Apache-2.0
"""Stand-in for the ROS package cv_bridge, which PyPI lacks; only what infinitevggt_ros calls."""

from cv_bridge.bridge import CvBridge
from cv_bridge.errors import CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]
