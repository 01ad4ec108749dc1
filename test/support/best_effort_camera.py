# SPDX-License-Identifier: Apache-2.0
"""A camera driver that only knows best effort: sends three images of HEIGHT x WIDTH to the node."""

import sys

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from infinitevggt_ros.msg import StreamStatus
from support.camera import Camera, image_message
from support.listening import Listener


def main(height: int, width: int) -> None:
    rclpy.init()
    listener = Listener(rclpy)
    camera = Camera(listener)
    listener.node.destroy_publisher(camera.publisher)
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera.publisher = listener.node.create_publisher(Image, "/image", qos)
    camera.wait_for_node()
    listener.spin_for(1.5)  # the node looks twice a second for what is offered
    image = np.zeros((height, width, 3), np.uint8)
    statuses = [camera.send(image_message(image, 10**9 + i)) for i in range(3)]
    used = sum(status.outcome == StreamStatus.PROCESSED for status in statuses)
    print(f"used {used} of {len(statuses)}")
    listener.node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
