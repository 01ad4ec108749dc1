# SPDX-License-Identifier: Apache-2.0
"""Parameters of stream_node while it runs, in a process of its own over real DDS."""

import time

import pytest
from rcl_interfaces.msg import ParameterDescriptor

from infinitevggt_ros.msg import StreamStatus
from support.asking import parameter_client, set_parameter
from support.camera import Camera, Spawn, film, image_message
from support.listening import Listener

pytestmark = pytest.mark.ros


def test_parameters_answer_while_the_network_works(listener: Listener, spawn: Spawn) -> None:
    spawn("stream_node", "--ros-args", "-p", "model.image_size:=448")  # a frame takes its time
    camera = Camera(listener)
    camera.wait_for_node()
    client = parameter_client(listener)
    images = film(3)
    camera.send(image_message(images[0], 10**9))
    inference_s = []
    for i in range(3):
        camera.publisher.publish(image_message(images[1], 2 * 10**9 + i))
        listener.spin_for(0.05)  # the worker has it now
        before, answers = len(camera.statuses), 0
        start_s = time.monotonic()
        while len(camera.statuses) == before:
            future = client.get_parameters(["memory.total_budget"])
            listener.spin_until(future.done)
            answers += len(camera.statuses) == before
        inference_s.append(time.monotonic() - start_s)
        assert answers >= 3, f"{answers} answers during {inference_s[-1]:.2f} s of inference"


def test_memory_changes_while_the_stream_runs_and_nonsense_is_refused(
    camera: Camera, listener: Listener
) -> None:
    client = parameter_client(listener)
    images = film(20)
    status = camera.send_film(images[:10])
    per_frame = sum(status.stored_tokens) // 10
    assert sum(status.stored_tokens) == 10 * per_frame  # nothing evicted so far

    smallest = 2 * per_frame
    refused = set_parameter(listener, client, "memory.total_budget", smallest - 1)
    assert not refused.successful
    assert f"the smallest that works is {smallest}" in refused.reason
    assert set_parameter(listener, client, "memory.total_budget", 3 * per_frame).successful
    status = camera.send_film(images[10:12], start_ns=3 * 10**9)
    assert sum(status.stored_tokens) <= 3 * per_frame
    assert status.total_budget == 3 * per_frame
    assert status.frame_index == 12, "the stream went on"

    assert set_parameter(listener, client, "memory.policy", "window").successful
    assert set_parameter(listener, client, "memory.window", 1).successful
    status = camera.send_film(images[12:15], start_ns=4 * 10**9)
    assert sum(status.stored_tokens) == 2 * per_frame
    assert status.policy == "window"

    refusals = {
        "memory.policy": ("lru", "one of"),
        "memory.anchor_frames": (-1, "memory.anchor_frames"),
        "memory.camera_memory": ("shared", "reset"),
        "model.checkpoint": ("x", "it is active"),
        "memory.dtype": (3, "type"),
    }
    for name, (value, words) in refusals.items():
        answer = set_parameter(listener, client, name, value)
        assert not answer.successful, name
        assert words in answer.reason, (name, answer.reason)
    assert camera.send_film(images[15:16], start_ns=5 * 10**9).outcome == StreamStatus.PROCESSED


def test_parameters_describe_themselves(camera: Camera, listener: Listener) -> None:
    client = parameter_client(listener)
    future = client.describe_parameters(["memory.total_budget", "map.voxel_size", "memory.policy"])
    listener.spin_until(future.done)
    budget, voxel, policy = future.result().descriptors
    assert isinstance(budget, ParameterDescriptor)
    assert "tokens" in budget.description
    assert budget.integer_range[0].from_value == 1
    assert voxel.floating_point_range[0].to_value == 10.0
    assert "diversity" in policy.additional_constraints
