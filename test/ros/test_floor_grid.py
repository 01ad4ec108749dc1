# SPDX-License-Identifier: Apache-2.0
"""The occupancy grid: its cells against the true floor plan of synthetic worlds."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.spatial import cKDTree

from infinitevggt_core import Prediction, preprocess
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_core.worlds import World
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.input.network_image import NetworkImage
from infinitevggt_ros.map_axes import MapFromWorld
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import GridSettings, OdometrySettings
from infinitevggt_ros.stream.floor_grid import FREE, OCCUPIED, UNKNOWN, FloorGrid
from infinitevggt_ros.stream.grid_rebuild import GridRebuild, KeyframeView
from infinitevggt_ros.stream.pose_source import NetworkPose, PoseEstimate, PoseReference
from support.camera import header
from support.rig import Rig
from support.scales import METRIC, use_scale

SETTINGS = GridSettings()
HEIGHT, WIDTH = 84, 112
_, PIXEL_MAP = preprocess(np.zeros((HEIGHT, WIDTH, 3), np.uint8), WIDTH)
LEVEL = MapFromWorld(rotation=np.eye(3))
"""A world's own axes are z-up and in metres."""


class WallPoses(NetworkPose):
    """Source of a camera half a metre above the floor, which looks along x at a wall and makes a
    keyframe of each image. `shift` moves all keyframes, and tells of it with the next image."""

    def __init__(self) -> None:
        super().__init__(OdometrySettings())
        self.shift = self._told = 0.0
        self._count = 0

    def locate(
        self,
        received: Received,
        image: NetworkImage,
        prediction: Prediction,
        depth_m: np.ndarray | None = None,
    ) -> PoseEstimate:
        rows = np.arange(prediction.depth[0].shape[0], dtype=np.float32)[:, None]
        floor = 0.5 * 8 / np.maximum(rows - 14, 1e-3)
        depth = np.broadcast_to(np.minimum(floor, 1.0), prediction.depth[0].shape)
        keyframes = self.keyframes() if self.shift != self._told else {}
        self._told, number = self.shift, self._count
        self._count += 1
        return PoseEstimate(
            camera_from_world=self._pose(number),
            covariance=np.eye(6),
            state="tracking",
            depth=depth.astype(np.float32),
            intrinsics=np.array([[8.0, 0, 14], [0, 8, 14], [0, 0, 1]]),
            reference=PoseReference(number, np.eye(3, 4), 1.0),
            is_keyframe=True,
            keyframes=keyframes,
        )

    def keyframes(self) -> dict[int, Similarity3]:
        poses = {
            number: Similarity3.from_rigid(self._pose(number)) for number in range(self._count)
        }
        return {number: pose.inverse() for number, pose in poses.items()}

    def _pose(self, number: int) -> np.ndarray:
        """Return camera_from_world; z of the stream's world is x of the map."""
        pose = np.eye(3, 4)
        pose[:, 3] = (0.15 * (number % 3), 0.0, -self.shift)
        return pose


def frame(camera_from_world: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray) -> FrameResult:
    """Return the result of a perfect network."""
    return FrameResult(
        camera="",
        header=header(10**9),
        stamp_ns=10**9,
        received_s=0.0,
        colors=np.zeros((*depth.shape, 3), np.float32),
        depth=depth,
        confidence=np.full_like(depth, 5.0),
        intrinsics=intrinsics,
        camera_from_world=camera_from_world,
        pixel_map=PIXEL_MAP,
        placement=LEVEL,
        is_metric=True,
    )


def walk(world: World, frames: int, step: int = 20) -> Iterator[FrameResult]:
    clips = world.render(list(range(0, frames * step, step)), HEIGHT, WIDTH)
    for seen in (clips.frame(number) for number in range(frames)):
        yield frame(
            seen.camera_from_world.double().numpy(),
            seen.depth.float().numpy(),
            seen.intrinsics.double().numpy(),
        )


@pytest.mark.parametrize("seed", [10_001, 10_003])
@pytest.mark.parametrize("floor", [0.0, None], ids=["known floor", "found floor"])
def test_cells_agree_with_the_true_floor_plan(seed: int, floor: float | None) -> None:
    """Occupied cells lie at true obstacles, free cells hold none, and most of what was seen is
    decided."""
    world = World(seed, "easy")
    grid = FloorGrid(SETTINGS)
    added = sum(grid.add(result, floor=floor) for result in walk(world, 40))
    assert 20 < added <= 40
    image = grid.image()
    assert image.floor == pytest.approx(0.0, abs=0.05)
    surface = world.surface(300_000)[0].numpy()
    is_obstacle = (surface[:, 2] > SETTINGS.min_height) & (surface[:, 2] < SETTINGS.max_height)
    obstacles = cKDTree(surface[is_obstacle, :2])
    rows, columns = np.indices(image.cells.shape)
    centres = np.stack((columns, rows), axis=-1) * image.resolution
    centres = centres + np.array(image.origin) + image.resolution / 2
    occupied, free = (centres[image.cells == value] for value in (OCCUPIED, FREE))
    assert len(occupied) > 100
    assert len(free) > 500
    distance = obstacles.query(occupied)[0]
    assert (distance < 2 * image.resolution).mean() > 0.97
    inside = obstacles.query(free)[0] < 0.3 * image.resolution
    assert inside.mean() < 0.07, "cells at the foot of a wall, of which a part is free"


def test_the_grid_is_bounded_and_moves_with_the_camera() -> None:
    settings = GridSettings(size=4.0, resolution=0.1)
    grid = FloorGrid(settings)
    depth = np.full((HEIGHT, WIDTH), 1.0, np.float32)
    intrinsics = np.array([[80.0, 0, 56], [0, 80, 42], [0, 0, 1]])
    ahead = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # looks along x, z up
    last = None
    for x in np.arange(0.0, 20.0, 0.5):
        pose = np.concatenate((ahead, -ahead @ np.array([[x], [0.0], [0.25]])), axis=1)
        assert grid.add(frame(pose, depth, intrinsics), floor=0.0)
        image = grid.image()
        assert image.cells.shape == (40, 40)
        assert image.origin[0] <= x + 0.9 <= image.origin[0] + 4.0, "the wall is in the grid"
        last = image, x
    assert last is not None
    image, x = last
    column = int((x + 1.0 - image.origin[0]) / 0.1)
    row = int((0.0 - image.origin[1]) / 0.1)
    assert OCCUPIED in image.cells[row, column - 1 : column + 2]
    assert image.cells[row, column - 4] == FREE
    assert image.cells[row, min(39, column + 6)] == UNKNOWN, "behind the wall"


def test_obstacles_that_go_away_become_free() -> None:
    grid = FloorGrid(GridSettings(size=10.0))
    intrinsics = np.array([[80.0, 0, 56], [0, 80, 42], [0, 0, 1]])
    ahead = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    for number in range(12):
        depth = np.full((HEIGHT, WIDTH), 1.0 if number < 3 else 3.0, np.float32)
        y = 0.11 * (-1) ** number
        pose = np.concatenate((ahead, -ahead @ np.array([[0.0], [y], [0.5]])), axis=1)
        assert grid.add(frame(pose, depth, intrinsics), floor=0.0)
        if number == 2:
            assert _cell(grid, 1.0) == OCCUPIED
    assert _cell(grid, 1.0) == FREE


def _cell(grid: FloorGrid, x: float) -> int:
    image = grid.image()
    column = int((x - image.origin[0]) / image.resolution)
    row = int(-image.origin[1] / image.resolution)
    values = image.cells[row, column - 1 : column + 2]
    return int(values.max())


def test_the_grid_is_published_in_metres_only() -> None:
    rig = Rig(METRIC)
    assert rig.stream.grid.is_empty
    rig.push(1)
    assert rig.stream.grid.is_empty, "the scale is unknown"
    use_scale(rig.stream, 2.0)
    rig.push(1)
    rig.stream.set_pose(np.eye(4))
    assert rig.stream.grid.is_empty, "another place"


def test_heights_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="min_height must be below max_height"):
        GridSettings(min_height=1.0, max_height=0.5)
    with pytest.raises(ValueError, match="size must be at most"):
        GridSettings(size=500.0, resolution=0.01)


def test_a_camera_that_stands_adds_one_keyframe() -> None:
    grid = FloorGrid(SETTINGS)
    result = next(walk(World(10_001, "easy"), 1))
    assert [grid.add(result, floor=0.0) for _ in range(5)] == [True, False, False, False, False]


def keyframe_view(result: FrameResult, shift: float = 0.0) -> KeyframeView:
    """Return a frame as a keyframe, moved along x."""
    pose = result.pose.copy()
    pose[0, 3] += shift
    return KeyframeView(pose, result.depth, result.confidence, result.intrinsics)


def test_a_grid_is_made_anew_from_corrected_keyframes() -> None:
    """Half of the keyframes had drifted: the new grid is that of the true poses, and not before it
    holds all of them."""
    frames = list(walk(World(10_001, "easy"), 12))
    expected, drifted, rebuild = FloorGrid(SETTINGS), FloorGrid(SETTINGS), GridRebuild(SETTINGS)
    for number, result in enumerate(frames):
        expected.add(keyframe_view(result), floor=0.0)
        drifted.add(keyframe_view(result, 0.4 if number > 5 else 0.0), floor=0.0)
    assert not np.array_equal(drifted.image().cells, expected.image().cells)
    views = {10 + number: keyframe_view(result) for number, result in enumerate(frames)}
    assert rebuild.step(views, views.get, floor=0.0) is None, "nothing was corrected"
    rebuild.begin()
    found = [rebuild.step(views, views.get, floor=0.0) for _ in range(4)]
    assert found[:3] == [None] * 3
    assert found[3] is not None
    np.testing.assert_array_equal(found[3].image().cells, expected.image().cells)
    assert rebuild.step(views, views.get, floor=0.0) is None


def test_a_correction_meanwhile_makes_another_grid() -> None:
    views = {n: keyframe_view(result) for n, result in enumerate(walk(World(10_001, "easy"), 5))}
    rebuild = GridRebuild(SETTINGS)
    rebuild.begin()
    assert rebuild.step(views, views.get, floor=0.0) is None
    rebuild.begin()
    grids = [rebuild.step(views, views.get, floor=0.0) for _ in range(4)]
    assert [grid is not None for grid in grids] == [True, False, True, False]


def test_the_grid_of_a_stream_follows_a_loop_closure() -> None:
    """The camera sees a wall from two keyframes; then both move two metres forward."""
    rig = Rig(METRIC)
    use_scale(rig.stream, 1.0)
    poses = WallPoses()
    rig.stream.pose_source = poses
    rig.push(8)
    before = rig.stream.grid.image()
    poses.shift = 2.0
    rig.push(5)
    after = rig.stream.grid.image()
    columns = [np.flatnonzero((image.cells == OCCUPIED).any(axis=0)) for image in (before, after)]
    places = [
        image.origin[0] + image.resolution * float(np.median(found))
        for image, found in zip((before, after), columns, strict=True)
    ]
    assert places[1] - places[0] == pytest.approx(2.0, abs=0.1)
