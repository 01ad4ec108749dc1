# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt run --state`: a camera without ROS in the map that a node has saved."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infinitevggt_core import MapConfig, MemoryConfig
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.io.plain_state import with_arrays
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.commands.cli import main
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.export.keyframe import ExportKeyframe
from infinitevggt_ros.live.calibration_file import info_of_matrix
from infinitevggt_ros.live.sources import SourceFrame
from infinitevggt_ros.live.stream import RECENT, LiveFrame, LiveStream
from infinitevggt_ros.stream.state_file import read_state, write_state
from support.rig import MODEL, SMALL
from support.tracking_rig import save_walk
from support.tracking_samples import MATRIX, SIZE, Box, walk

FRAMES = 60
MIDDLE = 10
"""Image of the walk at which the camera starts in the saved map."""
FOUND = ("tracking", "degraded")
BOX = Box()


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    """RGB images of a walk in a textured box."""
    return [cv2.cvtColor(BOX.render(pose)[0], cv2.COLOR_GRAY2RGB) for pose in walk(FRAMES)]


@pytest.fixture(scope="module")
def state(images: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State of a node's stream that walked there and back."""
    return save_walk(images, tmp_path_factory.mktemp("walk") / "state.pt")


def saved_centers(path: Path) -> dict[int, NDArray[np.float64]]:
    """Positions of a state's keyframes in its map, by the image of the walk."""
    keyframes = with_arrays(read_state(path)["keyframes"])
    taken = [(int(ns) - 10**9) // 33_000_000 for ns in keyframes["stamps_ns"]]
    centers = Similarity3.from_state(keyframes["poses"]).translation
    return {min(at, 2 * FRAMES - 1 - at): c for at, c in zip(taken, centers, strict=True)}


class Sink:
    """Keeps what a stream gives for export."""

    def __init__(self) -> None:
        self.given: list[ExportKeyframe] = []

    def put(self, keyframe: ExportKeyframe, rgb: NDArray[np.uint8]) -> None:
        self.given.append(keyframe)


def live_stream(*, localization_only: bool, sink: Sink | None = None) -> LiveStream:
    return LiveStream(
        MODEL,
        MemoryConfig(),
        MapConfig(),
        info=info_of_matrix(MATRIX, SIZE),
        sink=sink,
        background=False,
        localization_only=localization_only,
    )


def process(stream: LiveStream, images: list[NDArray[np.uint8]]) -> Iterator[LiveFrame]:
    for number, image in enumerate(images):
        yield stream.process(SourceFrame(10**12 + 33_000_000 * number, image))


def test_each_keyframe_is_exported_when_new_and_when_final(
    images: list[NDArray[np.uint8]],
) -> None:
    sink = Sink()
    with closing(live_stream(localization_only=False, sink=sink)) as stream:
        there_and_back = [*images, *images[::-1]]
        assert len(list(process(stream, there_and_back))) > RECENT
        stream.finish()
    given = [keyframe.index for keyframe in sink.given]
    assert len(set(given)) > 1
    assert sorted(given) == sorted([*set(given), *set(given)])


def test_the_camera_is_found_in_the_map_of_a_node_which_stays_as_it_is(
    images: list[NDArray[np.uint8]], state: Path
) -> None:
    with closing(live_stream(localization_only=True)) as stream:
        stream.start_in(state)
        points = len(stream.map)
        keyframes = stream.mapper.keyframe_poses()
        centers = saved_centers(state)
        last = min(index for index in centers if index > MIDDLE)
        found = list(process(stream, [*images[MIDDLE:], *images[: last - 1 : -1]]))
        assert found[-1].state in FOUND
        assert len(stream.map) == points > 0
        after = stream.mapper.keyframe_poses()
        for index, pose in keyframes.items():
            np.testing.assert_array_equal(after[index].translation, pose.translation)
        center = camera_centers(found[-1].camera_from_map[None])[0]
        length = np.ptp([*centers.values()], axis=0).max()
        np.testing.assert_allclose(center, centers[last], atol=0.2 * length)


def test_an_image_that_is_not_found_again_is_lost_and_adds_nothing(state: Path) -> None:
    with closing(live_stream(localization_only=False)) as stream:
        stream.start_in(state)
        points = len(stream.map)
        elsewhere = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
        assert {live.state for live in process(stream, [elsewhere] * 4)} == {"lost"}
        assert len(stream.map) == points


def test_a_map_in_metres_is_left_to_the_node(state: Path, tmp_path: Path) -> None:
    metric = tmp_path / "metric.pt"
    write_state(metric, {**read_state(state), "scale": 2.0})
    with closing(live_stream(localization_only=True)) as stream:
        with pytest.raises(CommandError, match="which the node alone follows"):
            stream.start_in(metric)
        write_state(metric, {"scale": 1.0, "map_from_world": torch.eye(4)})
        with pytest.raises(CommandError, match="cannot be used"):
            stream.start_in(metric)


def test_the_command_starts_in_a_state_or_says_why_not(
    images: list[NDArray[np.uint8]],
    state: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    unknown = np.random.default_rng(0).integers(0, 255, (3, *SIZE, 3), np.uint8)
    for number, image in enumerate([*images[MIDDLE:], *unknown]):
        cv2.imwrite(str(photos / f"{number:02}.png"), image[..., ::-1])
    fov = float(np.degrees(2 * np.arctan(SIZE[1] / 2 / MATRIX[0, 0])))
    command = ["run", str(photos), "--fov", str(fov), "--image-size", str(SMALL.image_size)]
    only = ["--state", str(state), "--localization-only"]
    assert main([*command, *only, "--out", str(tmp_path / "run")]) == 0
    assert "53 images used" in capsys.readouterr().out
    lost = json.loads((tmp_path / "run" / "metrics.json").read_text())["run"]["tracking"]["lost"]
    assert 3 <= lost < 53
    poses = np.loadtxt(tmp_path / "run" / "trajectory.tum")
    assert len(poses) == 53 - lost
    assert main([*command, "--localization-only"]) == 1
    assert "needs --state" in capsys.readouterr().err
    assert main([*command, "--state", "/nowhere.pt"]) == 1
    assert "/nowhere.pt cannot be used" in capsys.readouterr().err
