# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt run` and its sources, without ROS."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from infinitevggt_core import MapConfig, MemoryConfig, load_checkpoint
from infinitevggt_core.io.tum import write_poses
from infinitevggt_core.worlds import World, WorldConfig
from infinitevggt_ros.bags.camera_messages import header_at, raw_image
from infinitevggt_ros.bags.message_types import typestore_with
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.commands.cli import main
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.live_bag import LiveBag
from infinitevggt_ros.export.run_folder import RunFolder, RunWriter
from infinitevggt_ros.live.calibration_file import info_of_fov, read_camera_file
from infinitevggt_ros.live.sources import (
    CameraFrames,
    SourceFrame,
    open_frames,
    rgb_from_message,
)
from infinitevggt_ros.live.stream import LiveStream
from infinitevggt_ros.map_axes import MAP_FROM_WORLD
from infinitevggt_ros.node.status_message import STREAM_STATUS
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.topics import NODE_DEPTH, NODE_MAP, NODE_ODOMETRY, NODE_POINTS, NODE_STATUS
from support.bag_evaluation import FRAMES
from support.bag_making import noise, write_image_bag
from support.world_images import (
    HEIGHT,
    SEED,
    STRIDE,
    WIDTH,
    endless_photos,
    world_images,
    world_video,
)

FOV_DEG = 60.0
CAMERA_YAML = """
image_width: 160
image_height: 120
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [130.0, 0, 80, 0, 131.0, 60, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.1, 0.01, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [130, 0, 80, 0, 0, 131, 60, 0, 0, 0, 1, 0]}
"""
ROS_PACKAGES = ("rclpy", "sensor_msgs", "geometry_msgs", "cv_bridge", "tf2_ros", "std_msgs")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world_video(tmp_path_factory.mktemp("video") / "room.avi", 12)


def never() -> bool:
    return False


class FakeCapture:
    """A webcam that vanishes after some images."""

    def __init__(self, images: int) -> None:
        self._left = images

    def isOpened(self) -> bool:  # noqa: N802
        return self._left > 0

    def read(self) -> tuple[bool, Any]:
        time.sleep(0.01)
        self._left -= 1
        return (self._left >= 0, noise(48, 64, seed=1) if self._left >= 0 else None)

    def release(self) -> None:
        pass


def test_a_camera_that_vanishes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infinitevggt_ros.live.sources.RETRY_S", 0.05)
    captures = iter([FakeCapture(3), FakeCapture(0), FakeCapture(1000)])
    said: list[str] = []
    opened: list[object] = []

    def open_capture(address: object) -> FakeCapture:
        opened.append(address)
        return next(captures)

    camera = CameraFrames(0, said.append, open_capture)
    found: list[SourceFrame] = []
    for frame in camera.frames(lambda: len(opened) == 3 and len(found) > 5):
        found.append(frame)
    assert opened == [0, 0, 0]
    assert len(said) >= 1
    assert "waiting for it" in said[0]
    stamps = [frame.stamp_ns for frame in found]
    assert stamps == sorted(stamps)
    np.testing.assert_array_equal(found[0].rgb, noise(48, 64, seed=1)[..., ::-1])


def test_every_kind_of_source_is_opened_by_its_name(
    tmp_path: Path, video: Path, world_bag: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        cv2.imwrite(str(photos / f"{index}.png"), noise(48, 64, seed=index))
    counts = {photos: 3, video: 12, world_bag: FRAMES, write_image_bag(tmp_path / "bag", 4): 4}
    for path, count in counts.items():
        source = open_frames(str(path), print)
        frames = list(source.frames(never))
        assert source.count == len(frames) == count
        stamps = [frame.stamp_ns for frame in frames]
        assert stamps == sorted(set(stamps))
        assert stamps[0] > 0
        assert frames[0].rgb.shape[2] == 3
    np.testing.assert_array_equal(
        next(iter(open_frames(str(photos), print).frames(never))).rgb,
        noise(48, 64, seed=0)[..., ::-1],
    )
    assert open_frames(str(world_bag), print).calibration is not None
    assert isinstance(open_frames("0", print), CameraFrames)
    assert isinstance(open_frames("rtsp://camera/stream", print), CameraFrames)
    with pytest.raises(CommandError, match="does not exist"):
        open_frames("/nowhere.mp4", print)


@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1), ("bayer_rggb8", 1)],
)
def test_encodings_of_bags_become_rgb(encoding: str, channels: int) -> None:
    color = {"red": 200, "green": 100, "blue": 50}
    order = {"rgb": ("red", "green", "blue"), "bgr": ("blue", "green", "red")}
    if encoding == "mono8":
        pixels, expected = np.full((8, 8), 90, np.uint8), (90, 90, 90)
    elif "bayer" in encoding:
        pixels = np.full((8, 8), color["green"], np.uint8)
        pixels[::2, ::2], pixels[1::2, 1::2] = color["red"], color["blue"]
        expected = tuple(color.values())
    else:
        values = [color[name] for name in order[encoding[:3]]]
        values += [255] * (channels - 3)
        pixels = np.broadcast_to(np.array(values, np.uint8), (8, 8, channels)).copy()
        expected = tuple(color.values())
    rgb = rgb_from_message(raw_image(header_at("camera", 1), pixels, encoding))
    assert tuple(rgb[4, 4].tolist()) == expected
    with pytest.raises(ValueError, match="encoding 64FC2"):
        rgb_from_message(raw_image(header_at("camera", 1), np.zeros((2, 2)), "64FC2"))


def test_a_calibration_file_is_read_and_its_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(CAMERA_YAML)
    info = read_camera_file(path)
    assert (info.height, info.width, info.k[0], info.d[0]) == (120, 160, 130.0, -0.1)
    for text, words in {
        "image_width: 160": "no calibration",
        "a: [": "cannot be read",
        CAMERA_YAML.replace("130.0, 0, 80", "130.0"): "must have 9 numbers",
    }.items():
        path.write_text(text)
        with pytest.raises(CommandError, match=words):
            read_camera_file(path)
    with pytest.raises(CommandError, match="cannot be read"):
        read_camera_file(tmp_path / "nowhere.yaml")
    with pytest.raises(CommandError, match="between 0 and 180"):
        info_of_fov(180, (120, 160))


def test_a_calibration_of_another_camera_is_said() -> None:
    said: list[str] = []
    stream = LiveStream(
        load_checkpoint("tiny"),
        MemoryConfig(),
        MapConfig(),
        info=info_of_fov(8.0, (HEIGHT, WIDTH)),
        say=said.append,
        background=False,
    )
    try:
        for index, image in enumerate(world_images(10)):
            stream.process(SourceFrame(10**9 + index * 10**8, image))
    finally:
        stream.close()
    assert len(said) == 1
    assert "times the focal length" in said[0]
    wrong = info_of_fov(60.0, (HEIGHT, 2 * WIDTH))
    model = load_checkpoint("random:tiny")
    stream = LiveStream(model, MemoryConfig(), MapConfig(), info=wrong, background=False)
    frame = SourceFrame(1, noise(HEIGHT, WIDTH, seed=0))
    with pytest.raises(CommandError, match="does not fit"):
        stream.process(frame)


@pytest.fixture(scope="module")
def finished_run(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    out, truth = folder / "room", folder / "truth.tum"
    world = World(SEED, config=WorldConfig.of("easy", motion="handheld"))
    poses = world.render([STRIDE * index for index in range(12)], 8, 8).camera_from_world.numpy()
    stamps_ns = [10**9 + index * 10**8 for index in range(12)]
    write_poses(truth, stamps_ns, poses.astype(float), MAP_FROM_WORLD[:3, :3])
    fov = str(FOV_DEG)
    assert main(["run", str(video), "--fov", fov, "--out", str(out), "--truth", str(truth)]) == 0
    return out


def test_a_run_leaves_the_page_and_the_figures_of_an_evaluation(finished_run: Path) -> None:
    figures = json.loads((finished_run / "metrics.json").read_text())
    assert figures["run"]["frames_used"] == 12
    assert figures["run"]["latency_ms"]["p50"] > 0
    for name in ("trajectory", "trajectory_corrected"):
        trajectory = figures[name]
        assert trajectory["poses"] == 12
        assert trajectory["sim3"]["ate_rmse"] < 0.5 * trajectory["ate_rmse_standing"]
    assert np.loadtxt(finished_run / "truth.tum").shape == (12, 8)
    page = (finished_run / "index.html").read_text()
    assert "{{data}}" not in page
    assert '"error":[' in page, "errors over time"
    assert "data:image/jpeg;base64," in page


def test_a_video_that_ends_early_leaves_a_complete_result(
    tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, out = tmp_path / "short.avi", tmp_path / "run"
    content = video.read_bytes()
    short.write_bytes(content[: 6 * len(content) // 10])
    assert main(["run", str(short), "--out", str(out), "--checkpoint", "random:tiny"]) == 0
    used = json.loads((out / "metrics.json").read_text())["run"]["frames_used"]
    assert 0 < used < 12
    assert f"{used} of 12 frames could be decoded" in capsys.readouterr().err
    assert (out / "index.html").exists()
    assert len(np.loadtxt(out / "trajectory.tum", ndmin=2)) == used


class BreakingSource:
    """A source that fails after three images, as a damaged bag does."""

    name, count, calibration = "broken", 10, None

    def frames(self, stopped: Callable[[], bool]) -> Iterator[SourceFrame]:
        for index in range(3):
            yield SourceFrame(10**9 + index, noise(HEIGHT, WIDTH, seed=index))
        raise CommandError("the rest is damaged")


def test_a_source_that_fails_leaves_a_complete_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infinitevggt_ros.commands.run.open_frames", lambda *_: BreakingSource())
    out = tmp_path / "run"
    assert main(["run", "any", "--out", str(out), "--checkpoint", "random:tiny"]) == 0
    assert "ends after 3 images: the rest is damaged" in capsys.readouterr().err
    assert json.loads((out / "metrics.json").read_text())["run"]["frames_used"] == 3


def test_a_run_leaves_trajectory_map_and_keyframes(finished_run: Path) -> None:
    for name in ("trajectory.tum", "corrected.tum"):
        poses = np.loadtxt(finished_run / name, ndmin=2)
        assert poses.shape == (12, 8)
        np.testing.assert_allclose(np.linalg.norm(poses[:, 4:], axis=1), 1, atol=1e-6)
    assert (finished_run / "map.ply").stat().st_size > 1000
    assert (finished_run / "map.pcd").stat().st_size > 1000
    figures = json.loads((finished_run / "run.json").read_text())
    assert figures["frames_used"] == 12
    folder = RunFolder(finished_run)
    keyframes = list(folder.keyframes())
    assert len(keyframes) == len(folder) >= 2
    for keyframe in keyframes:
        assert keyframe.picture.exists()
        assert keyframe.size == (HEIGHT, WIDTH)
        assert keyframe.points.shape == (len(keyframe.ids), 3)
        in_camera = keyframe.points @ keyframe.camera_from_map[:, :3].T
        in_camera += keyframe.camera_from_map[:, 3]
        projected = in_camera @ keyframe.camera_matrix.T
        error = np.linalg.norm(projected[:, :2] / projected[:, 2:] - keyframe.pixels, axis=1)
        assert np.median(error) < 2.0, "pixels and points belong together"
    with pytest.raises(CommandError, match="holds a run already"):
        RunWriter(finished_run)


def test_a_finished_run_is_exported_in_every_format(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = {name: tmp_path / name for name in ("colmap", "nerfstudio", "tum", "pcd")}
    given = [word for name, path in out.items() for word in (f"--{name}", str(path))]
    assert main(["export", str(finished_run), *given]) == 0
    said = capsys.readouterr().out
    assert float(said.split("median reprojection error ")[1].split()[0]) < 1
    assert out["tum"].read_bytes() == (finished_run / "corrected.tum").read_bytes()
    assert out["pcd"].read_bytes() == (finished_run / "map.pcd").read_bytes()
    frames = json.loads((out["nerfstudio"] / "transforms.json").read_text())["frames"]
    images = {path.name for path in (out["colmap"] / "images").iterdir()}
    assert {Path(frame["file_path"]).name for frame in frames} == images


def test_a_run_leaves_the_bag_of_an_evaluation(finished_run: Path, whole_run: Path) -> None:
    with (
        BagReader(finished_run / "result.mcap") as found,
        BagReader(whole_run / "result.mcap") as expected,
    ):
        assert found.topics == expected.topics
        assert found.latched_topics == expected.latched_topics
        counts = {topic: count for topic, count in found.message_counts.items() if count}
        store = typestore_with(STREAM_STATUS)
        messages = {
            topic: store.deserialize_cdr(data, found.topics[topic])
            for topic, _, data in found.messages()
        }
    assert counts.pop(NODE_MAP) == 1
    assert set(counts.values()) == {12}
    odometry, status = messages[NODE_ODOMETRY], messages[NODE_STATUS]
    last = np.loadtxt(finished_run / "trajectory.tum")[-1]
    position = odometry.pose.pose.position
    np.testing.assert_allclose((position.x, position.y, position.z), last[1:4], atol=1e-6)
    assert (status.outcome, status.frames_received, status.frames_processed) == (0, 12, 12)
    assert status.calibrated
    assert status.map_points == messages[NODE_MAP].width > 0
    depth, cloud = messages[NODE_DEPTH], messages[NODE_POINTS]
    assert depth.encoding == "32FC1"
    assert depth.width * depth.height == cloud.width
    assert cloud.header.frame_id == depth.header.frame_id
    assert messages["/tf"].transforms[0].child_frame_id == depth.header.frame_id


def test_the_bag_of_a_run_is_bounded(tmp_path: Path, video: Path) -> None:
    said: list[str] = []
    bag = LiveBag(tmp_path, Settings(), said.append, most_bytes=100_000)
    model = load_checkpoint("random:tiny")
    stream = LiveStream(model, MemoryConfig(), MapConfig(), background=False)
    with closing(stream):
        for frame in open_frames(str(video), print).frames(never):
            bag.add(stream.process(frame), stream)
        bag.finish(stream.map.cloud())
    assert len(said) == 1
    with BagReader(tmp_path / "result.mcap") as reader:
        recorded = reader.message_counts[NODE_STATUS]
        assert reader.message_counts[NODE_MAP] == 1
    assert 0 < recorded < 12
    assert f"the first {recorded} images" in said[0]


def test_a_run_goes_on_when_its_bag_cannot_be_written(
    tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise CommandError("No space left on device")

    monkeypatch.setattr("infinitevggt_ros.bags.writer.BagWriter.write", full)
    out = tmp_path / "run"
    assert main(["run", str(video), "--out", str(out), "--checkpoint", "random:tiny"]) == 0
    assert capsys.readouterr().err.count("there is no result.mcap: No space left on device") == 1
    assert not (out / "result.mcap").exists()
    assert not list(out.glob(".result*"))
    assert json.loads((out / "metrics.json").read_text())["run"]["frames_used"] == 12


def test_no_ros_is_imported(video: Path, tmp_path: Path) -> None:
    arguments = ["run", str(video), "--frames", "2", "--checkpoint", "random:tiny"]
    arguments += ["--out", str(tmp_path / "run")]
    script = (
        "import sys; from infinitevggt_ros.commands.cli import main; "
        f"code = main({arguments!r}); "
        f"print([m for m in sys.modules if m.split('.')[0] in {ROS_PACKAGES}], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=280
    )
    assert done.stdout.splitlines()[-1] == "[] 0", done.stdout + done.stderr


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, "ended early"
        time.sleep(0.05)


def test_ctrl_c_ends_the_run_with_everything_written(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    photos = endless_photos(tmp_path / "photos")
    out = tmp_path / "run"
    process = start("run", photos, "--out", out)
    wait_for(out / "keyframes" / "000000.npz", process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 130, output
    assert "images used" in output
    assert "Traceback" not in output
    used = json.loads((out / "run.json").read_text())["frames_used"]
    assert 0 < used < 1200
    assert len(np.loadtxt(out / "trajectory.tum", ndmin=2)) == used
    assert json.loads((out / "metrics.json").read_text())["run"]["frames_used"] == used
    assert (out / "index.html").exists()


def test_mistakes_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "0.png"), noise(48, 64, seed=0))
    for arguments, words in {
        ("/nowhere.mp4",): "does not exist",
        (str(empty),): "no image in",
        (str(empty), "--frames", "-1"): "--frames",
        (str(empty), "--truth", "a.tum"): "--truth needs --out",
        (str(photos), "--truth", "/nowhere.tum", "--out", str(empty)): "/nowhere.tum is missing",
        (str(write_image_bag(tmp_path / "a.mcap", 2)), "--checkpoint", "/nowhere.pt"): "/nowhere",
    }.items():
        assert main(["run", *arguments]) == 1
        assert words in capsys.readouterr().err
