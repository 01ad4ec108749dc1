# SPDX-License-Identifier: Apache-2.0
"""Stamp and frame of a message."""

from typing import Any, Protocol


class Header(Protocol):
    """Fields of std_msgs/Header, of a message or of an image without ROS."""

    stamp: Any
    frame_id: str
