# SPDX-License-Identifier: Apache-2.0
"""`~/export`: files for other tools, whole or not at all, with the poses as corrected."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo

from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.export.run_folder import RunFolder
from infinitevggt_ros.map_axes import MAP_FROM_WORLD
from infinitevggt_ros.params.settings import OutputSettings
from infinitevggt_ros.srv import Export
from infinitevggt_ros.stream.stream_export import StreamExport
from support.camera import NODE, Camera, Spawn
from support.listening import Listener
from support.node_process import call
from support.rig import Rig
from support.tracking_rig import run, tracking_rig, walk_info
from support.tracking_samples import Box, walk

FRAMES = 40
MOST = 6
BOX = Box()
CARRIED = Similarity3(
    np.array(1.0), Rotation.from_euler("y", 30, degrees=True).as_matrix(), np.array([3.0, 0, 1])
)
"""Motion of the whole world by a correction."""


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    """RGB images of a walk in a textured box."""
    return [cv2.cvtColor(BOX.render(p)[0], cv2.COLOR_GRAY2RGB) for p in walk(FRAMES)]


@pytest.fixture(scope="module")
def rig(images: list[NDArray[np.uint8]]) -> Rig:
    """A stream that has seen the walk and keeps few keyframes."""
    rig = tracking_rig(output=OutputSettings(keyframe_images=MOST))
    run(rig, images)
    return rig


def exported(rig: Rig, folder: Path, *formats: str) -> Path:
    export = StreamExport(folder, formats)
    export.take(rig.stream)
    export.finish()
    return folder


def centers(folder: Path) -> dict[int, np.ndarray]:
    """Positions of the keyframes of a run in a ROS map, by stamp (ns)."""
    found = {}
    for keyframe in RunFolder(folder).keyframes():
        pose = keyframe.camera_from_map
        found[keyframe.stamp_ns] = MAP_FROM_WORLD[:3, :3] @ (-pose[:, :3].T @ pose[:, 3])
    return found


def trajectory(path: Path) -> dict[int, np.ndarray]:
    rows = [line.split() for line in path.read_text().splitlines()[1:]]
    return {int(row[0].replace(".", "")): np.array(row[1:4], float) for row in rows}


def test_keyframes_are_bounded_and_lie_on_the_trajectory(rig: Rig, tmp_path: Path) -> None:
    folder = exported(rig, tmp_path / "out", "run", "tum", "ply", "pcd", "colmap", "nerfstudio")
    names = {"colmap", "map.pcd", "map.ply", "nerfstudio", "run", "trajectory.tum"}
    assert {path.name for path in folder.iterdir()} == names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    found, way = centers(folder / "run"), trajectory(folder / "trajectory.tum")
    assert 2 <= len(found) <= MOST
    for stamp_ns, center in found.items():
        np.testing.assert_allclose(center, way[stamp_ns], atol=0.02)
    for keyframe in RunFolder(folder / "run").keyframes():
        seen = keyframe.points @ keyframe.camera_from_map[:, :3].T + keyframe.camera_from_map[:, 3]
        pixels = seen @ keyframe.camera_matrix.T
        error = np.linalg.norm(pixels[:, :2] / pixels[:, 2:] - keyframe.pixels, axis=1)
        assert np.median(error) < 1.0, "pixels and points belong together"
    assert (folder / "colmap" / "sparse" / "0" / "points3D.bin").stat().st_size > 1000
    frames = json.loads((folder / "nerfstudio" / "transforms.json").read_text())["frames"]
    assert len(frames) == len(found)


def test_a_mesh_of_the_walk_shows_the_walls(rig: Rig, tmp_path: Path) -> None:
    o3d = pytest.importorskip(
        "open3d", reason="an extra: pip install '.[mesh]'", exc_type=ModuleNotFoundError
    )
    folder = exported(rig, tmp_path / "out", "mesh")
    assert [path.name for path in folder.iterdir()] == ["mesh.ply"]
    mesh = o3d.io.read_triangle_mesh(str(folder / "mesh.ply"))
    assert len(mesh.triangles) > 500


def test_a_loop_closure_moves_what_is_exported(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = exported(rig, tmp_path / "before", "run", "tum")
    source = rig.stream.pose_source
    moved = {index: CARRIED @ pose for index, pose in source.keyframes().items()}
    corrections = [moved]
    with monkeypatch.context() as patch:
        patch.setattr(source, "keyframes", lambda: moved)
        patch.setattr(source, "corrections", lambda: corrections.pop() if corrections else {})
        after = exported(rig, tmp_path / "after", "run", "tum")
    axes = MAP_FROM_WORLD[:3, :3]
    turn, shift = axes @ CARRIED.rotation @ axes.T, axes @ CARRIED.translation
    for read in (
        lambda folder: centers(folder / "run"),
        lambda folder: trajectory(folder / "trajectory.tum"),
    ):
        old, new = read(before), read(after)
        assert old.keys() == new.keys()
        for stamp_ns, center in old.items():
            np.testing.assert_allclose(new[stamp_ns], turn @ center + shift, atol=1e-3)


def test_what_cannot_be_exported_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stl: unknown; there are tum, ply, pcd, run, colmap"):
        StreamExport(tmp_path / "out", ["tum", "stl"])
    with pytest.raises(ValueError, match="name formats"):
        StreamExport(tmp_path / "out", [])
    for other, words in (
        (tracking_rig(), "set output.keyframe_images, or use `infinitevggt run"),
        (tracking_rig(output=OutputSettings(keyframe_images=MOST)), "the camera must move more"),
        (Rig(), "without pose.source tracking"),
    ):
        export = StreamExport(tmp_path / "out", ["tum", "colmap"])
        with pytest.raises(ValueError, match=words):
            export.take(other.stream)
        export.abandon()
    assert not list(tmp_path.iterdir())


def ask(listener: Listener, folder: str, *formats: str) -> Any:
    return call(listener, Export, "export", Export.Request(formats=formats, folder=folder))


@pytest.mark.ros
def test_the_service_answers_with_paths_or_the_reason(
    listener: Listener, spawn: Spawn, tmp_path: Path, images: list[NDArray[np.uint8]]
) -> None:
    settings = {"files.root": tmp_path, "output.keyframe_images": 20, "model.image_size": 112}
    given = [word for name, value in settings.items() for word in ("-p", f"{name}:={value}")]
    spawn("stream_node", "--ros-args", *given)
    camera = Camera(listener)
    camera.wait_for_node()
    info = listener.node.create_publisher(CameraInfo, "/camera_info", 10)
    listener.meet(NODE)
    info.publish(walk_info())
    few = ask(listener, "early", "colmap")
    assert not few.success
    assert "the camera must move more" in few.message
    camera.send_film(images, step_ns=33_000_000)
    answer = ask(listener, "walk", "tum", "pcd", "colmap")
    assert answer.success, answer.message
    expected = [str(tmp_path / "walk" / name) for name in ("colmap", "map.pcd", "trajectory.tum")]
    assert answer.paths == expected
    assert answer.message == f"tum, pcd, colmap in {tmp_path / 'walk'}"
    assert len(list((tmp_path / "walk" / "colmap" / "images").iterdir())) >= 2
    mesh = ask(listener, "mesh", "mesh")
    if find_spec("open3d"):
        assert mesh.success, mesh.message
        assert mesh.paths == [str(tmp_path / "mesh" / "mesh.ply")]
        shutil.rmtree(tmp_path / "mesh")
    else:
        assert not mesh.success
        assert "the extra [mesh]" in mesh.message
    for folder, formats, words in (
        ("walk", ["tum"], "it exists already"),
        ("../out", ["tum"], "set files.root to /"),
        ("other", ["stl"], "stl: unknown"),
    ):
        refused = ask(listener, folder, *formats)
        assert not refused.success
        assert words in refused.message
        assert not refused.paths
    assert [path.name for path in tmp_path.iterdir()] == ["walk"]
