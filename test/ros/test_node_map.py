# SPDX-License-Identifier: Apache-2.0
"""The map on the wire and on disk, and streams that outlive their process."""

import os
import signal
import subprocess
from pathlib import Path as File

import numpy as np
import pytest
from nav_msgs.msg import Path
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2
from std_srvs.srv import Trigger

from infinitevggt_ros.srv import UseFile
from infinitevggt_ros.stream.state_file import read_state
from support.camera import Camera, Spawn, film, image_message
from support.listening import Listener, finish
from support.node_process import NODE, PROCESSED, call, started

pytestmark = pytest.mark.ros
FAST = "stream_node", "--ros-args", "-p", "output.map_period:=0.05"
FAST += "-p", "output.updates_period:=0.02", "-p", "files.root:=/"
FAST += "-p", "pose.source:=network"  # whose poses a loaded state repeats exactly


def use_file(listener: Listener, service: str, path: File) -> UseFile.Response:
    return call(listener, UseFile, service, UseFile.Request(path=str(path)))


def followed(updates: list[PointCloud2]) -> dict[int, tuple[float, ...]]:
    """The map as somebody knows it who hears the updates."""
    known: dict[int, tuple[float, ...]] = {}
    for update in updates:
        if update.width == 0:
            known.clear()
        for x, y, z, _, confidence, voxel in point_cloud2.read_points(update).tolist():
            known.pop(voxel, None)
            if confidence > 0:
                known[voxel] = (x, y, z)
    return known


def points_of(cloud: PointCloud2) -> list[tuple[float, ...]]:
    return sorted(map(tuple, point_cloud2.read_points_numpy(cloud, ["x", "y", "z"]).tolist()))


def test_updates_add_up_to_the_map_even_for_who_comes_late(
    listener: Listener, spawn: Spawn
) -> None:
    camera = started(listener, spawn, *FAST, "-p", "output.updates_points:=500")
    images = film(6, 240, 320)
    camera.send_film(images[:3])  # before anybody listens
    updates = listener.listen(PointCloud2, f"{NODE}/map_updates", latched=True)
    clouds = listener.listen(PointCloud2, f"{NODE}/map", latched=True)
    status = camera.send_film(images[3:], start_ns=2 * 10**9)
    listener.spin_until(lambda: bool(clouds) and clouds[-1].width == status.map_points)
    listener.spin_until(lambda: len(followed(updates)) == status.map_points)
    assert max(update.width for update in updates) == 500
    assert sorted(followed(updates).values()) == points_of(clouds[-1])
    call(listener, Trigger, "reset", Trigger.Request())
    listener.spin_until(lambda: followed(updates) == {} and clouds[-1].width == 0)


def test_the_map_is_sent_when_it_changed_and_thinned_when_asked(
    listener: Listener, spawn: Spawn
) -> None:
    camera = started(listener, spawn, *FAST, "-p", "output.map_points:=100")
    clouds = listener.listen(PointCloud2, f"{NODE}/map", latched=True)
    listener.meet(NODE)
    camera.send_film(film(2, 240, 320))
    listener.spin_until(lambda: bool(clouds) and clouds[-1].header.stamp.nanosec == 10**8)
    listener.spin_for(1.0)  # time for many more
    stamps = [(cloud.header.stamp.sec, cloud.header.stamp.nanosec) for cloud in clouds]
    assert len(stamps) == len(set(stamps))
    assert {cloud.width for cloud in clouds} == {100}


def test_the_map_and_the_trajectory_are_saved_as_they_are_published(
    listener: Listener, spawn: Spawn, tmp_path: File
) -> None:
    camera = started(listener, spawn, *FAST)
    clouds = listener.listen(PointCloud2, f"{NODE}/map", latched=True)
    paths = listener.listen(Path, f"{NODE}/path", latched=True)
    status = camera.send_film(film(3, 240, 320), start_ns=1_700_000_000_123_456_789)
    listener.spin_until(lambda: bool(clouds) and clouds[-1].header.stamp == status.header.stamp)
    listener.spin_until(lambda: bool(paths) and len(paths[-1].poses) == 3)
    for name in ("map.ply", "map.pcd", "way.tum"):
        answer = use_file(listener, "save_map", tmp_path / name)
        assert answer.success, answer.message
        assert str(tmp_path / name) in answer.message
    expected = points_of(clouds[-1])
    for name, rest in (("map.ply", "u1,u1,u1,<f4"), ("map.pcd", "<u4,<f4")):
        data = (tmp_path / name).read_bytes()
        end = b"DATA binary\n" if name.endswith("pcd") else b"end_header\n"
        header, _, body = data.partition(end)
        assert b"map frame, x forward, z up; unit of the stream\n" in header
        rows = np.frombuffer(body, np.dtype(f"<f4,<f4,<f4,{rest}"))
        assert sorted((x, y, z) for x, y, z, *_ in rows.tolist()) == expected, name
    lines = (tmp_path / "way.tum").read_text().splitlines()[1:]
    assert [line.split()[0] for line in lines] == [
        f"1700000000.{ns}" for ns in (123456789, 223456789, 323456789)
    ]
    position = paths[-1].poses[-1].pose.position
    np.testing.assert_allclose(
        [float(value) for value in lines[-1].split()[1:4]],
        (position.x, position.y, position.z),
        rtol=1e-6,
        atol=1e-9,
    )


def test_what_cannot_be_saved_is_said_and_the_stream_goes_on(
    listener: Listener, spawn: Spawn
) -> None:
    camera = started(listener, spawn, *FAST)
    images = film(2)
    camera.send(image_message(images[0], 1))
    said = {
        "/dev/full/map.ply": "there is no directory /dev/full",
        "/nowhere/map.ply": "there is no directory /nowhere",
        "/tmp/map.obj": ".ply, .pcd, .tum",
    }
    for path, words in said.items():
        answer = use_file(listener, "save_map", File(path))
        assert not answer.success, path
        assert words in answer.message
    assert camera.send(image_message(images[1], 2)).outcome == PROCESSED


def test_a_full_disk_leaves_the_old_file_and_is_said(
    listener: Listener, spawn: Spawn, tmp_path: File
) -> None:
    import resource

    process = spawn(*FAST)
    camera = Camera(listener)
    camera.wait_for_node()
    camera.send_film(film(2, 240, 320))
    file = tmp_path / "map.ply"
    file.write_text("old")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, 1000))  # like a full disk
    answer = use_file(listener, "save_map", file)
    assert not answer.success
    assert answer.message == f"[Errno 27] File too large: '{file}'"
    state = use_file(listener, "save_state", tmp_path / "state.pt")
    assert not state.success
    assert state.message == f"[Errno 27] File too large: '{tmp_path / 'state.pt'}'"
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["map.ply"]


def poses(camera: Camera, listener: Listener, images: list[np.ndarray], ns: int) -> np.ndarray:
    """Positions of the last poses of the path after these images."""
    paths = listener.listen(Path, f"{NODE}/path", latched=True)
    listener.meet(NODE)
    status = camera.send_film(images, start_ns=ns)
    listener.spin_until(lambda: bool(paths) and paths[-1].header.stamp == status.header.stamp)
    last = [pose.pose.position for pose in paths[-1].poses[-len(images) :]]
    return np.array([(p.x, p.y, p.z) for p in last])


def test_a_stream_goes_on_in_the_world_it_loads(
    listener: Listener, spawn: Spawn, tmp_path: File
) -> None:
    """Against itself, had it never been reset: poses, memory and map are the same."""
    images, state = film(8, 112, 112), tmp_path / "state.pt"
    camera = started(listener, spawn, *FAST)
    camera.send_film(images[:5])
    saved = use_file(listener, "save_state", state)
    assert saved.success, saved.message
    expected = poses(camera, listener, images[5:], 2 * 10**9)
    last = camera.statuses[-1]
    call(listener, Trigger, "reset", Trigger.Request())
    camera.send_film(images[:2], start_ns=3 * 10**9)
    loaded = use_file(listener, "load_state", state)
    assert loaded.success, loaded.message
    np.testing.assert_allclose(poses(camera, listener, images[5:], 10**9), expected, atol=1e-6)
    again = camera.statuses[-1]
    assert (again.frame_index, again.map_points) == (last.frame_index, last.map_points)
    assert list(again.stored_tokens) == list(last.stored_tokens)
    assert again.map_id == 2, "after 0, which was saved, and 1, which ran"


def saved_frames(path: File) -> int:
    """Number of frames of a saved stream; 0 if there is none."""
    return int(read_state(path)["session"]["frame_index"]) if path.exists() else 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_new_process_goes_on_in_the_world_of_the_last(
    listener: Listener, spawn: Spawn, tmp_path: File, how: signal.Signals
) -> None:
    images = film(8, 112, 112)
    state = tmp_path / "state.pt"
    keep = "-p", f"state.path:={state}", "-p", "state.period:=0.1"

    def camera_of_new_node(topic: str, *arguments: str) -> tuple[subprocess.Popen[str], Camera]:
        """A topic of its own, because DDS takes some time to notice that a process was killed."""
        process = spawn(*FAST, *arguments, "-r", f"image:={topic}")
        camera = Camera(listener, topic=topic)
        camera.wait_for_node()
        return process, camera

    process, camera = camera_of_new_node("/whole")
    expected = poses(camera, listener, images, 10**9)[5:]
    process.send_signal(signal.SIGINT)
    finish(process)
    process, camera = camera_of_new_node("/begun", *keep)
    camera.send_film(images[:5])
    if how == signal.SIGKILL:
        listener.spin_until(lambda: saved_frames(state) == 5)
    process.send_signal(how)
    finish(process)
    _, camera = camera_of_new_node("/gone_on", *keep)
    actual = poses(camera, listener, images[5:], 2 * 10**9)
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert camera.statuses[-1].frame_index == 8


def test_a_state_that_cannot_be_read_ends_the_start_and_stays(spawn: Spawn, tmp_path: File) -> None:
    state = tmp_path / "state.pt"
    state.write_bytes(os.urandom(1000))
    before = state.read_bytes()
    code, output = finish(spawn(*FAST, "-p", f"state.path:={state}"))
    assert code == 1
    assert f"state.path: {state} is not the state of a stream; move the file" in output
    assert state.read_bytes() == before


def test_an_anchor_is_pinned_on_request(listener: Listener, spawn: Spawn) -> None:
    camera = started(listener, spawn, *FAST)
    refused = call(listener, Trigger, "pin_anchor", Trigger.Request())
    assert not refused.success, "there is no frame yet"
    images = film(6)
    per_frame = sum(camera.send_film(images[:1]).stored_tokens)
    camera.send_film(images[1:3], start_ns=2 * 10**9)
    pinned = call(listener, Trigger, "pin_anchor", Trigger.Request())
    assert (pinned.success, pinned.message) == (True, "frame 2 stays in memory")
    client = AsyncParameterClient(listener.node, NODE)
    for name, value in (("memory.policy", "window"), ("memory.window", 1)):
        answer = client.set_parameters([Parameter(name, value=value)])
        listener.spin_until(answer.done)
    last = camera.send_film(images[3:], start_ns=3 * 10**9)
    assert sum(last.stored_tokens) == 3 * per_frame  # the first, the pinned and the latest
    assert last.eager_because == "no graphs on cpu"
