# SPDX-License-Identifier: Apache-2.0
"""Several cameras, each with a world of its own, computed together."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nav_msgs.msg import Odometry
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

from infinitevggt_core import Prediction, StreamSession, preprocess
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.worker import Answer
from infinitevggt_ros.params.settings import RigSettings, Settings, TfSettings
from infinitevggt_ros.srv import UseFile
from infinitevggt_ros.stream.stream import Stream
from support.camera import OPTICAL_FRAME, Camera, Spawn, film, image_message
from support.listening import Listener
from support.node_process import NODE, call
from support.rig import IMAGES, MODEL, PAIR, Rig

PROCESSED, REJECTED = StreamStatus.PROCESSED, StreamStatus.REJECTED
BROKEN = np.zeros((2, 28, 3), np.uint8)
"""Too flat an image."""


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch of each forward of the network."""
    batches: list[int] = []
    forward = MODEL.aggregator.forward

    def counted(images: torch.Tensor, *args: Any, **options: Any) -> Any:
        batches.append(len(images))
        return forward(images, *args, **options)

    monkeypatch.setattr(MODEL.aggregator, "forward", counted)
    return batches


def alone(images: list[np.ndarray]) -> Prediction:
    """The last prediction of a session that saw nothing else."""
    session = StreamSession(MODEL)
    return [session.push(preprocess(pixels, 28)[0]) for pixels in images][-1]


def assert_close(stream: Stream, expected: Prediction) -> None:
    assert stream.latest is not None
    pose = expected.camera_from_world[0].double().numpy()
    np.testing.assert_allclose(stream.latest.camera_from_world, pose, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(stream.latest.depth, expected.depth[0], atol=1e-5, rtol=1e-4)


def test_cameras_together_see_what_each_sees_alone(forwards: list[int]) -> None:
    """The right one begins later, sends an image that is none, and is silent once."""
    rig, seen = Rig(PAIR), {"left": [], "right": []}
    for number in range(8):
        images = {"left": IMAGES[number % 6]}
        if number not in (0, 5):
            images["right"] = BROKEN if number == 3 else IMAGES[(number + 2) % 6]
        rig.take_together(images, 10**9 + number)
        for name, pixels in images.items():
            if pixels is not BROKEN:
                seen[name].append(pixels)
    assert forwards == [1, 1, 1, 2, 1, 2, 1, 2, 2]
    for stream, name in zip(rig.streams, seen, strict=True):
        assert stream.session.frame_index == len(seen[name])
        assert_close(stream, alone(seen[name]))
    outcomes = [status.outcome for status in rig.statuses]
    assert (outcomes.count(PROCESSED), outcomes.count(REJECTED)) == (13, 1)
    assert rig.statuses[-1].camera == "right"
    assert rig.statuses[-1].frame_index == 5


def test_cameras_of_different_shapes_and_times_go_on_beside_each_other(
    forwards: list[int],
) -> None:
    rig, wide = Rig(PAIR), film(1, 14, 28)[0]
    rig.take_together({"left": IMAGES[0], "right": wide}, 10**9)
    rig.take_together({"left": IMAGES[1], "right": wide}, 2 * 10**9)
    assert forwards == [1] * 4
    for number in range(2):  # the right one's bag loops
        rig.take_together({"right": wide}, 1 + number)
    rig.take_together({"left": IMAGES[2]}, 3 * 10**9)
    left, right = rig.streams
    assert (left.map_id, left.session.frame_index) == (0, 3)
    assert (right.map_id, right.session.frame_index) == (1, 1)


def test_what_breaks_for_one_camera_is_lost_to_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(PAIR)
    rig.take_together({"left": IMAGES[0], "right": IMAGES[1]}, 1)

    def broken(*_: object) -> None:
        raise KeyError("nobody foresaw this")

    with monkeypatch.context() as patch:
        patch.setattr(rig.streams[0], "complete", broken)
        rig.take_together({"left": IMAGES[1], "right": IMAGES[2]}, 2)
    with monkeypatch.context() as patch:  # together it fails, one by one it works
        patch.setattr("infinitevggt_ros.stream.batch.push_together", broken)
        rig.take_together({"left": IMAGES[2], "right": IMAGES[3]}, 3)
    outcomes = [(status.camera, status.outcome) for status in rig.statuses[2:]]
    assert outcomes == [
        ("left", REJECTED),
        ("right", PROCESSED),
        ("left", PROCESSED),
        ("right", PROCESSED),
    ]
    assert [stream.map_id for stream in rig.streams] == [0, 0]
    assert "nobody foresaw this" in rig.statuses[2].last_rejection
    assert any("computed one by one" in text for text in rig.warnings)


def test_requests_reach_every_stream_and_files_have_its_name(tmp_path: Path) -> None:
    settings = replace(PAIR, state=replace(PAIR.state, path=str(tmp_path / "state.pt")))
    rig, again = Rig(settings), Rig(settings)
    for number in range(3):
        rig.take_together({"left": IMAGES[number], "right": IMAGES[number]}, 1 + number)
    assert rig.ask(lambda stream: f"{stream.session.pin()}") == Answer(True, "left: 2; right: 2")
    for stream in rig.streams:
        stream.close()
    assert {path.name for path in tmp_path.iterdir()} == {"state_left.pt", "state_right.pt"}
    for stream in again.streams:
        stream.load_world(tmp_path / "state.pt")
        assert stream.session.frame_index == 3


def edges_of_one_frame(settings: Settings) -> tuple[list[tuple[str, str]], list[str]]:
    """Parents and children on /tf, and warnings, where both cameras call their frame the same."""
    rig = Rig(settings)
    rig.take_together({"left": IMAGES[0], "right": IMAGES[1]}, 1)
    edges = [(sent.header.frame_id, sent.child_frame_id) for sent in rig.transforms]
    return edges, rig.warnings


def test_one_frame_gets_one_of_the_worlds_for_a_parent() -> None:
    edges, warnings = edges_of_one_frame(replace(PAIR, tf=TfSettings(require_metres=False)))
    assert edges == [("left_map", OPTICAL_FRAME)]
    assert any("has the parent left_map already" in text for text in warnings)


def test_one_frame_may_have_every_world_for_a_child() -> None:
    edges, warnings = edges_of_one_frame(
        replace(PAIR, tf=TfSettings(invert=True, require_metres=False))
    )
    assert edges == [(OPTICAL_FRAME, "left_map"), (OPTICAL_FRAME, "right_map")]
    assert warnings == []


def test_a_request_reaches_the_other_streams_where_one_refuses() -> None:
    rig = Rig(PAIR)
    rig.take_together({"right": IMAGES[0]}, 1)
    answer = rig.ask(lambda stream: f"{stream.session.pin()}")
    assert answer == Answer(False, "left: the stream has seen no frame yet; right: 0")
    rig.streams[1].session.unpin(0)  # which refuses a frame that is not pinned


@pytest.mark.parametrize("mode", ["map_to_odom", "odom_to_base", "map_to_base"])
def test_a_mode_of_tf_for_one_world_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=r"set tf\.mode to auto or none"):
        replace(PAIR, tf=TfSettings(mode=mode))
    replace(PAIR, tf=TfSettings(mode=mode), rig=RigSettings())


@pytest.mark.ros
def test_each_camera_has_its_world(listener: Listener, spawn: Spawn, tmp_path: Path) -> None:
    tf = listener.listen(TFMessage, "/tf")
    maps = {
        name: listener.listen(PointCloud2, f"{NODE}/{name}/map", latched=True)
        for name in ("left", "right")
    }
    odometry = listener.listen(Odometry, f"{NODE}/right/odometry")
    arguments = ["cameras:=[left, right, rear]", "rig.mode:=independent"]
    arguments += ["output.map_period:=0.05", "files.root:=/"]
    spawn("stream_node", "--ros-args", *(x for text in arguments for x in ("-p", text)))
    cameras = {
        name: Camera(listener, topic=f"/{name}/image", name=name) for name in ("left", "right")
    }
    for camera in cameras.values():
        camera.wait_for_node()
    sizes = {"left": (48, 64), "right": (64, 64)}
    for number in range(1, 4):
        for name, camera in cameras.items():
            pixels = film(1, *sizes[name])[0]
            status = camera.send(image_message(pixels, number, frame_id=f"{name}_eye"))
            assert (status.outcome, status.frame_index) == (PROCESSED, number), name
    listener.spin_until(lambda: all(maps.values()) and bool(odometry))
    frames = {name: heard[-1].header.frame_id for name, heard in maps.items()}
    assert frames == {"left": "left_map", "right": "right_map"}
    assert {message.header.frame_id for message in odometry} == {"right_map"}
    edges = {("left_map", "left_eye_visual"), ("right_map", "right_eye_visual")}

    def sent() -> set[tuple[str, str]]:
        return {(t.header.frame_id, t.child_frame_id) for m in tf for t in m.transforms}

    listener.spin_until(lambda: sent() == edges)
    request = UseFile.Request(path=str(tmp_path / "map.ply"))
    answer = call(listener, UseFile, "save_map", request)
    assert answer.success, answer.message
    names = {"map_left.ply", "map_rear.ply", "map_right.ply"}
    assert {path.name for path in tmp_path.iterdir()} == names
