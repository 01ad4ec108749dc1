# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt export`, from a run whose geometry is exact."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from infinitevggt_core import MapConfig, PointMap
from infinitevggt_core.io.plain_state import with_tensors
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.commands.cli import main
from infinitevggt_ros.export.colmap import write_colmap
from infinitevggt_ros.export.keyframe import ExportKeyframe
from infinitevggt_ros.export.run_folder import RUN_FILE, RunFolder, RunWriter
from infinitevggt_ros.map_axes import MAP_FROM_WORLD
from infinitevggt_ros.stream.keyframe_history import KeyframeHistory
from infinitevggt_ros.stream.state_file import write_state

WIDTH, HEIGHT = 160, 120
K = np.array([[130.0, 0, 79.5], [0, 130.0, 59.5], [0, 0, 1]])
DEPTH_K = np.array([[65.0, 0, 39.5], [0, 65.0, 29.5], [0, 0, 1]])
SCALES = (2.0, 1.0, 0.5)
"""Units of the map per unit of each keyframe."""
WALL_Z = 4.0
RNG = np.random.default_rng(2)
POINTS = np.column_stack((RNG.uniform(-1, 1, (60, 2)), np.full(60, WALL_Z)))
"""Points on a wall, in the map."""


def camera_from_map(index: int) -> np.ndarray:
    """(3, 4): the camera moves to the right and turns a little."""
    rotation = Rotation.from_euler("y", 3.0 * index, degrees=True).as_matrix()
    return np.concatenate((rotation, -rotation @ [[0.2 * index], [0], [0]]), axis=1)


def wall_depth(pose: np.ndarray) -> np.ndarray:
    """(60, 80) depth of the wall, units of the map."""
    v, u = np.mgrid[:60, :80]
    rays = np.stack((u, v, np.ones_like(u)), axis=-1) @ np.linalg.inv(DEPTH_K).T
    center = -pose[:, :3].T @ pose[:, 3]
    in_map = rays @ pose[:, :3]
    return (WALL_Z - center[2]) / in_map[..., 2]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three keyframes of a wall, as `infinitevggt run` leaves them."""
    folder = tmp_path / "run"
    writer = RunWriter(folder)
    poses: dict[int, Similarity3] = {}
    for index, scale in enumerate(SCALES):
        pose = camera_from_map(index)
        in_camera = POINTS @ pose[:, :3].T + pose[:, 3]
        projected = in_camera @ K.T
        picture = np.full((HEIGHT, WIDTH, 3), (200, 100, 50), np.uint8)
        writer.put(
            ExportKeyframe(
                index,
                10**9 * (index + 1),
                (HEIGHT, WIDTH),
                K,
                (wall_depth(pose) / scale).astype(np.float32),
                DEPTH_K,
                np.arange(len(POINTS)),
                projected[:, :2] / projected[:, 2:],
                in_camera / scale,
            ),
            picture,
        )
        rotation = pose[:, :3].T
        center = -rotation @ pose[:, 3]
        poses[index] = Similarity3(np.array(scale), rotation, center)
    (folder / "corrected.tum").write_text("# stamp x y z qx qy qz qw\n")
    (folder / "map.ply").write_bytes(b"ply\n")
    (folder / "map.pcd").write_bytes(b"pcd\n")
    writer.finish(poses, {})
    return folder


def test_the_colmap_model_has_tracks_and_exact_reprojections(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "colmap"
    images, points, error_px = write_colmap(RunFolder(run), out)
    assert (images, points) == (3, len(POINTS))
    assert error_px < 1e-6
    lines = (out / "sparse_text" / "images.txt").read_text().splitlines()[2:]
    assert len(lines) == 6
    number, *pose, camera, name = lines[2].split()
    assert (number, camera, name) == ("2", "2", "000001.jpg")
    values = np.array(pose, dtype=float)
    expected = camera_from_map(1)
    rotation = Rotation.from_quat(values[[1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(rotation, expected[:, :3], atol=1e-9)
    np.testing.assert_allclose(values[4:], expected[:, 3], atol=1e-9)
    assert (out / "images" / "000001.jpg").exists()
    camera_line = (out / "sparse_text" / "cameras.txt").read_text().splitlines()[1]
    assert camera_line == "1 PINHOLE 160 120 130 130 80 60", "COLMAP's pixels are centred at 0.5"


def test_colmap_reads_both_models(run: Path, tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="an extra: pip install '.[colmap]'")
    out = tmp_path / "colmap"
    assert main(["export", str(run), "--colmap", str(out)]) == 0
    for folder in ("sparse/0", "sparse_text"):
        model = pycolmap.Reconstruction(out / folder)
        assert model.num_reg_images() == 3
        assert len(model.points3D) == len(POINTS)
        assert model.compute_mean_track_length() == 3.0
        model.update_point_3d_errors()
        errors = [point.error for point in model.points3D.values()]
        assert np.median(errors) < 1e-3
        for number, point in model.points3D.items():
            np.testing.assert_allclose(point.xyz, POINTS[number - 1], atol=1e-6)
            np.testing.assert_allclose(point.color, (200, 100, 50), atol=4)


def test_an_observation_far_from_its_point_is_left_out(run: Path, tmp_path: Path) -> None:
    path = run / "keyframes" / "000002.npz"
    with np.load(path) as found:
        parts = dict(found)
    parts["pixels"][0] += 30
    np.savez_compressed(path, **parts)
    write_colmap(RunFolder(run), tmp_path / "colmap")
    lines = (tmp_path / "colmap" / "sparse_text" / "points3D.txt").read_text().splitlines()[1:]
    assert len(lines[0].split()) == 8 + 2 * 2
    assert len(lines[1].split()) == 8 + 2 * 3


def test_nerfstudio_gets_poses_in_opengl_axes(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "nerf"
    assert main(["export", str(run), "--nerfstudio", str(out)]) == 0
    content = json.loads((out / "transforms.json").read_text())
    assert content["ply_file_path"] == "map.ply"
    assert (out / "map.ply").exists()
    frames = content["frames"]
    assert len(frames) == 3
    first = np.array(frames[0]["transform_matrix"])
    # the first camera looks along x of the map, and z is up
    np.testing.assert_allclose(first[:3, :3] @ [0, 0, -1], (1, 0, 0), atol=1e-9)
    np.testing.assert_allclose(first[:3, :3] @ [0, 1, 0], (0, 0, 1), atol=1e-9)
    second = np.array(frames[1]["transform_matrix"])
    np.testing.assert_allclose(second[:3, 3], MAP_FROM_WORLD[:3, :3] @ [0.2, 0, 0], atol=1e-9)
    assert (frames[1]["fl_x"], frames[1]["cx"]) == (130.0, 80.0)
    assert (out / frames[1]["file_path"]).exists()


def test_trajectory_and_map_are_copied(run: Path, tmp_path: Path) -> None:
    tum, pcd = tmp_path / "a" / "walk.tum", tmp_path / "b" / "walk.pcd"
    assert main(["export", str(run), "--tum", str(tum), "--pcd", str(pcd)]) == 0
    assert tum.read_bytes() == (run / "corrected.tum").read_bytes()
    assert pcd.read_bytes() == (run / "map.pcd").read_bytes()


def test_the_mesh_is_the_wall(run: Path, tmp_path: Path) -> None:
    o3d = pytest.importorskip(
        "open3d", reason="an extra: pip install '.[mesh]'", exc_type=ModuleNotFoundError
    )
    path = tmp_path / "room.ply"
    assert main(["export", str(run), "--mesh", str(path)]) == 0
    mesh = o3d.io.read_triangle_mesh(str(path))
    vertices = np.asarray(mesh.vertices)
    assert len(vertices) > 500
    np.testing.assert_allclose(vertices[:, 0], WALL_Z, atol=0.03)  # z of the camera is x of the map
    assert np.ptp(vertices[:, 1]) > 2.0
    colors = np.asarray(mesh.vertex_colors)
    np.testing.assert_allclose(np.median(colors, axis=0) * 255, (200, 100, 50), atol=6)


def test_a_mesh_without_open3d_names_the_extra(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    assert main(["export", str(run), "--mesh", str(tmp_path / "room.ply")]) == 1
    assert "pip install open3d, the extra [mesh]" in capsys.readouterr().err
    assert not (tmp_path / "room.ply").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name what to export"),
        (["--mesh", "a.ply", "--voxel", "-1"], "--voxel"),
    ],
)
def test_mistakes_are_explained(
    run: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_run_that_cannot_be_exported_is_explained(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path / "nowhere"), "--colmap", str(tmp_path / "c")]) == 1
    assert "holds no finished run" in capsys.readouterr().err
    content = json.loads((run / RUN_FILE).read_text())
    content["keyframes"] = {"0": content["keyframes"]["0"]}
    (run / RUN_FILE).write_text(json.dumps(content))
    for kind in ("--colmap", "--nerfstudio", "--mesh"):
        assert main(["export", str(run), kind, str(tmp_path / "c.ply")]) == 1
        assert "has 1 keyframes and this export needs 2" in capsys.readouterr().err
    (run / RUN_FILE).write_text("{")
    assert main(["export", str(run), "--colmap", str(tmp_path / "c")]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_a_picture_that_is_gone_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "keyframes" / "000001.jpg").unlink()
    assert main(["export", str(run), "--colmap", str(tmp_path / "c")]) == 1
    assert "000001.jpg" in capsys.readouterr().err
    assert cv2.imread(str(run / "keyframes" / "000000.jpg")) is not None


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """State of a stream whose map is 2 m per unit and one metre high, with two keyframes."""
    settings = MapConfig(
        voxel_size=0.1, max_points=100, pixel_stride=1, keep_fraction=1.0, min_confidence=1.0
    )
    points = PointMap(settings)
    v, u = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    grid = torch.stack((u, v, torch.full_like(u, 5.0)), dim=-1)
    points.insert(grid, torch.full((3, 4, 5), 0.5), torch.full((4, 5), 9.0))
    keyframes = KeyframeHistory()
    for index in range(2):
        rotation = Rotation.from_euler("y", 90.0 * index, degrees=True).as_matrix()
        pose = Similarity3(np.array(1.0), rotation, np.array([0.0, 0.0, 1.0 * index]))
        keyframes.add(index, 10**9 * (index + 1), pose)
    matrix = MAP_FROM_WORLD.copy()
    matrix[2, 3] = 1.0
    path = tmp_path / "stream.pt"
    write_state(
        path,
        {
            "map_from_world": torch.from_numpy(matrix),
            "scale": 2.0,
            "is_metric": True,
            "map": points.state_dict(),
            "keyframes": with_tensors(keyframes.state_dict()),
        },
    )
    return path


def test_a_saved_state_gives_its_keyframes_and_its_map(state: Path, tmp_path: Path) -> None:
    tum, pcd = tmp_path / "out" / "keyframes.tum", tmp_path / "out" / "map.pcd"
    assert main(["export", str(state), "--tum", str(tum), "--pcd", str(pcd)]) == 0
    rows = np.loadtxt(tum)
    np.testing.assert_allclose(rows[:, 0], (1, 2))
    np.testing.assert_allclose(rows[:, 1:4], [(0, 0, 1), (2, 0, 1)], atol=1e-9)
    forward = Rotation.from_quat(rows[:, 4:]).apply((0, 0, 1))
    np.testing.assert_allclose(forward, [(1, 0, 0), (0, -1, 0)], atol=1e-9)
    assert "metres" in tum.read_text().splitlines()[0]
    header, _, content = pcd.read_bytes().partition(b"DATA binary\n")
    assert b"POINTS 20" in header
    places = np.frombuffer(content, np.float32).reshape(20, 5)[:, :3]
    np.testing.assert_allclose(places[:, 0], 10.0, atol=1e-5)
    np.testing.assert_allclose(sorted(set(places[:, 2].round(4))), (-5, -3, -1, 1), atol=1e-4)


def test_what_a_state_cannot_give_is_said(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(state), "--mesh", str(tmp_path / "a.ply")]) == 1
    assert "a state has no images" in capsys.readouterr().err
    state.write_bytes(b"no state")
    assert main(["export", str(state), "--tum", str(tmp_path / "a.tum")]) == 1
    assert "is not the state of a stream" in capsys.readouterr().err
