# SPDX-License-Identifier: Apache-2.0
"""A node in a process of its own: started, and asked through its services."""

from pathlib import Path

from infinitevggt_ros.msg import StreamStatus
from support.camera import Camera, Spawn
from support.listening import Listener

BROKEN_NODE = str(Path(__file__).with_name("broken_node.py"))
NODE = "/infinitevggt"
PROCESSED, DROPPED, REJECTED = StreamStatus.PROCESSED, StreamStatus.DROPPED, StreamStatus.REJECTED


def started(listener: Listener, spawn: Spawn, *command: str) -> Camera:
    spawn(*command)
    camera = Camera(listener)
    camera.wait_for_node()
    return camera


def call(listener: Listener, kind: type, name: str, request: object) -> object:
    client = listener.node.create_client(kind, f"{NODE}/{name}")
    listener.spin_until(client.service_is_ready)
    future = client.call_async(request)
    listener.spin_until(future.done)
    return future.result()
