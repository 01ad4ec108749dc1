# SPDX-License-Identifier: Apache-2.0
"""Picture of a run, from maps of any size."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from infinitevggt_ros.demo.overview import draw_overview
from infinitevggt_ros.demo.recording import Recording
from infinitevggt_ros.msg import StreamStatus

RNG = np.random.default_rng(3)


def recording(points: int, loops: np.ndarray | None = None) -> Recording:
    """A wall 2 in front of a camera that moved a little."""
    places = np.column_stack((np.full(points, 2.0), *RNG.uniform(-1, 1, (2, points))))
    path = np.array([[0.0, 0, 0], [0.1, 0, 0]])
    return Recording(
        stamps_ns=[0, 1],
        positions=path,
        quats_xyzw=np.array([[0.0, 0, 0, 1]] * 2),
        points=places.astype(np.float32),
        colors=np.tile(np.float32([0, 0, 1]), (points, 1)),
        confidences=np.ones(points, np.float32),
        depth=np.ones((6, 8), np.float32),
        depth_stamp_ns=1,
        statuses=[StreamStatus()],
        corrected=np.column_stack((path, np.array([[0.0, 0, 0, 1]] * 2))),
        keyframes=np.empty((0, 3)) if loops is None else np.array([[1.0, 0.5, 0.0]]),
        loops=np.empty((0, 2, 3)) if loops is None else loops,
    )


@pytest.mark.parametrize(("points", "share"), [(0, 0.0), (1, 0.0), (5000, 0.05)])
def test_the_map_is_drawn_in_its_colours(tmp_path: Path, points: int, share: float) -> None:
    image = np.zeros((6, 8, 3), np.uint8)
    draw_overview(tmp_path / "overview.png", image, recording(points), "policy diversity")
    picture = cv2.imread(str(tmp_path / "overview.png"))
    left_half = picture[:, : picture.shape[1] // 3]
    blue = (left_half == (255, 0, 0)).all(axis=-1).mean()
    assert blue > share if share else blue == 0


def test_loops_and_keyframes_are_drawn_on_the_map(tmp_path: Path) -> None:
    image = np.zeros((6, 8, 3), np.uint8)
    loops = np.array([[[0.1, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    draw_overview(tmp_path / "overview.png", image, recording(5000, loops), "policy diversity")
    picture = cv2.imread(str(tmp_path / "overview.png"))
    map_half = picture[:, : picture.shape[1] // 2].astype(int)
    assert (np.abs(map_half - (87, 192, 64)).max(axis=-1) < 30).any(), "a green loop"
    assert (np.abs(map_half - (102, 214, 255)).max(axis=-1) < 30).any(), "a yellow keyframe"
