# SPDX-License-Identifier: Apache-2.0
"""Readers of data sets, each on a tiny one written here in the original layout.

The camera moves 0.1 m per frame to its right. Depth is 1 m and grows by 0.5 m per row.
"""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infinitevggt_core.evaluation.datasets import READERS, DatasetError, Sequence
from infinitevggt_core.evaluation.datasets.files import read_image
from infinitevggt_core.evaluation.tally import FrameMetrics, StreamTally, measures
from infinitevggt_core.io.ply import read_ply_points, write_ply

FRAMES, HEIGHT, WIDTH = 4, 6, 8
TURN = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""Return camera axes in the world: z is the world's x."""


def picture(index: int) -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH, 3), (index * 10, 100, 200), np.uint8)


def depth_m() -> NDArray[np.float64]:
    return np.tile(1 + 0.5 * np.arange(HEIGHT)[:, None], (1, WIDTH))


def world_from_camera(index: int) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, :3] = TURN
    pose[:3, 3] = TURN @ [0.1 * index, 0, 0]
    return pose


def save(path: Path, pixels: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_depth(path: Path, per_metre: float, unknown: int = 0) -> None:
    """Write a 16-bit depth image whose first pixel is unknown."""
    steps = (depth_m() * per_metre).astype(np.uint16)
    steps[0, 0] = unknown
    save(path, steps)


def rows(values: NDArray[np.float64]) -> str:
    return "\n".join(" ".join(f"{x:.9f}" for x in row) for row in values) + "\n"


def write_tum(root: Path, name: str = "rgbd_dataset_freiburg1_desk") -> Path:
    folder = root / name
    lists: dict[str, list[str]] = {"rgb": ["# color images"], "depth": ["# depth maps"]}
    truth = ["# timestamp tx ty tz qx qy qz qw"]
    for i in range(FRAMES):
        # stamps as cameras have them: depth 8 ms later, the truth at another rate
        stamp = {"rgb": f"1305031452.{791720 + i * 33000:06d}"}
        stamp["depth"] = f"1305031452.{799720 + i * 33000:06d}"
        for kind, found in lists.items():
            found.append(f"{stamp[kind]} {kind}/{stamp[kind]}.png")
        save(folder / f"rgb/{stamp['rgb']}.png", picture(i))
        save_depth(folder / f"depth/{stamp['depth']}.png", 5000)
        x, y, z = world_from_camera(i)[:3, 3]
        for shift in (-12000, -1000, 12000):  # the nearest is right
            x_there = x if shift == -1000 else x + 5
            stamp_there = f"1305031452.{791720 + i * 33000 + shift:06d}"
            truth.append(f"{stamp_there} {x_there} {y} {z} -0.5 0.5 -0.5 0.5")
    for kind, found in lists.items():
        (folder / f"{kind}.txt").write_text("\n".join(found) + "\n")
    (folder / "groundtruth.txt").write_text("\n".join(truth) + "\n")
    return folder


def write_bonn(root: Path) -> Path:
    return write_tum(root, "rgbd_bonn_balloon2")


def write_seven_scenes(root: Path) -> Path:
    scene = root / "chess"
    for number in (1, 3):
        folder = scene / f"seq-{number:02d}"
        for i in range(FRAMES):
            save(folder / f"frame-{i:06d}.color.png", picture(i))
            save_depth(folder / f"frame-{i:06d}.depth.png", 1000, unknown=65535)
            (folder / f"frame-{i:06d}.pose.txt").write_text(rows(world_from_camera(i)))
    (scene / "TestSplit.txt").write_text("sequence3\n")
    (scene / "TrainSplit.txt").write_text("sequence1\n")
    return scene


def write_nrgbd(root: Path) -> Path:
    folder = root / "kitchen"
    opengl = np.diag([1.0, -1, -1, 1])
    poses = np.concatenate([world_from_camera(i) @ opengl for i in range(12)])
    for i in range(12):  # img10 comes after img9, not after img1
        save(folder / f"images/img{i}.png", picture(i))
        save_depth(folder / f"depth/depth{i}.png", 1000)
    (folder / "poses.txt").write_text(rows(poses))
    (folder / "focal.txt").write_text("554.256\n")
    return folder


def write_long3d(root: Path) -> Path:
    folder = root / "classroom"
    lines = []
    for i in range(FRAMES):
        save(folder / f"images/{i:05d}.jpg", picture(i))
        x, y, z = world_from_camera(i)[:3, 3]
        lines.append(f"{i}.0 {x} {y} {z} -0.5 0.5 -0.5 0.5")
    (folder / "poses.txt").write_text("\n".join(lines))
    points = np.random.default_rng(0).uniform(0, 1, (50, 3)).astype(np.float32)
    write_ply(folder / "scan.ply", points, points, points[:, 0])
    return folder


def write_kitti(root: Path) -> Path:
    """Return odometry. The colour camera is 0.06 m left of camera 0, whose poses are given."""
    folder = root / "sequences/04"
    for i in range(FRAMES):
        save(folder / f"image_2/{i:06d}.png", picture(i))
    projection = "7.2e+02 0 6.0e+02 4.32e+01 0 7.2e+02 1.8e+02 0 0 0 1 0"
    (folder / "calib.txt").write_text(f"P0: {projection}\nP2: {projection}\n")
    (folder / "times.txt").write_text("".join(f"{0.1 * i:e}\n" for i in range(FRAMES)))
    (root / "poses").mkdir()
    poses = [world_from_camera(i)[:3] for i in range(FRAMES)]
    for pose in poses:
        pose[:, 3] += TURN @ [0.06, 0, 0]  # of camera 0
    (root / "poses/04.txt").write_text(rows(np.stack([pose.ravel() for pose in poses])))
    return root


def write_kitti_depth(root: Path) -> Path:
    drive = root / "val/2011_09_26_drive_0002_sync"
    for i in range(FRAMES + 5):
        save(drive / f"image_02/data/{i:010d}.png", picture(i - 5))
        if i >= 5:
            save_depth(drive / f"proj_depth/groundtruth/image_02/{i:010d}.png", 256)
    return root


def write_sintel(root: Path) -> Path:
    training, tag = root / "training", struct.pack("<f", 202021.25)
    for i in range(FRAMES):
        name = f"alley_1/frame_{i + 1:04d}"
        save(training / f"final/{name}.png", picture(i))
        depth = depth_m()
        depth[0, 0] = 0
        for kind, suffix, data in (
            ("depth", "dpt", struct.pack("<ii", WIDTH, HEIGHT) + depth.astype("<f4").tobytes()),
            ("camdata_left", "cam", sintel_camera(i)),
        ):
            path = training / f"{kind}/{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tag + data)
    return root


def sintel_camera(index: int) -> bytes:
    matrix = np.array([[1120.0, 0, 511.5], [0, 1120, 217.5], [0, 0, 1]])
    inverse = np.linalg.inv(world_from_camera(index))[:3]
    return matrix.astype("<f8").tobytes() + inverse.astype("<f8").tobytes()


LAYOUTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "tum": ("tum", write_tum),
    "bonn": ("bonn", write_bonn),
    "7scenes": ("7scenes", write_seven_scenes),
    "nrgbd": ("nrgbd", write_nrgbd),
    "long3d": ("long3d", write_long3d),
    "kitti odometry": ("kitti", write_kitti),
    "kitti depth": ("kitti", write_kitti_depth),
    "sintel": ("sintel", write_sintel),
}
FOCAL = {
    "tum": (517.3, 318.6),
    "bonn": (542.822841, 315.59352),
    "7scenes": (585, 320),
    "nrgbd": (554.256, WIDTH / 2),
    "kitti odometry": (720, 600),
    "sintel": (1120, 511.5),
}


def opened(layout: str, path: Path) -> Sequence:
    name, write = LAYOUTS[layout]
    write(path)
    (sequence,) = READERS[name](path)
    sequence.check()
    return sequence


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_gives_images_poses_depth_and_intrinsics(layout: str, tmp_path: Path) -> None:
    sequence = opened(layout, tmp_path)
    assert len(sequence.frames) == (12 if layout == "nrgbd" else FRAMES)
    stamps = [frame.stamp_ns for frame in sequence.frames]
    assert stamps == sorted(set(stamps))
    assert stamps[0] > 0
    for i, frame in enumerate(sequence.frames):
        assert abs(int(read_image(frame.image)[0, 0, 0]) - 10 * i) <= 3  # jpeg
        if layout != "kitti depth":
            expected = np.linalg.inv(world_from_camera(i))[:3]
            np.testing.assert_allclose(frame.camera_from_world, expected, atol=1e-6)
        else:
            assert np.isnan(frame.camera_from_world).all()
        if layout not in ("long3d", "kitti odometry"):
            assert frame.depth is not None
            depth = sequence.read_depth(frame.depth)
            assert depth[0, 0] == 0
            np.testing.assert_allclose(depth[1:], depth_m()[1:], atol=1e-3)
    if layout in FOCAL:
        assert sequence.intrinsics is not None
        focal, middle = FOCAL[layout]
        assert sequence.intrinsics[0, 0] == pytest.approx(focal)
        assert sequence.intrinsics[0, 2] == pytest.approx(middle)
    else:
        assert sequence.intrinsics is None


def test_tum_stamps_are_exact(tmp_path: Path) -> None:
    assert opened("tum", tmp_path).frames[1].stamp_ns == 1305031452_824720000


def test_a_sequence_of_seven_scenes_that_is_named_is_read_whatever_its_split(
    tmp_path: Path,
) -> None:
    scene = write_seven_scenes(tmp_path)
    assert [s.name for s in READERS["7scenes"](scene)] == ["chess-seq-03"]
    assert [s.name for s in READERS["7scenes"](scene / "seq-01")] == ["chess-seq-01"]


def test_lost_poses_are_not_known(tmp_path: Path) -> None:
    folder = write_nrgbd(tmp_path)
    lines = (folder / "poses.txt").read_text().splitlines()
    lines[4:8] = ["nan nan nan nan"] * 4
    (folder / "poses.txt").write_text("\n".join(lines))
    (sequence,) = READERS["nrgbd"](folder)
    known = [bool(np.isfinite(frame.camera_from_world).all()) for frame in sequence.frames]
    assert known == [i != 1 for i in range(12)]


def rewrite(file: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    """Return what changes the text of a file in a folder."""
    return lambda folder: (folder / file).write_bytes(
        change((folder / file).read_text()).encode("utf-8", "surrogateescape")
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace("#", "  #"),
        lambda text: "# Z\udcfcrich\n" + text,  # a comment in Latin-1
    ],
    ids=["byte order mark", "CRLF", "tabs", "indented comment", "latin-1"],
)
@pytest.mark.parametrize("file", ["rgb.txt", "depth.txt", "groundtruth.txt"])
def test_a_text_file_may_be_written_in_other_ways(
    file: str, change: Callable[[str], str], tmp_path: Path
) -> None:
    folder = write_tum(tmp_path)
    (wanted,) = READERS["tum"](folder)
    rewrite(file, change)(folder)
    (sequence,) = READERS["tum"](folder)
    for frame, other in zip(sequence.frames, wanted.frames, strict=True):
        assert (frame.image, frame.depth) == (other.image, other.depth)
        np.testing.assert_array_equal(frame.camera_from_world, other.camera_from_world)


def test_columns_may_be_separated_by_commas_and_files_named_with_spaces(tmp_path: Path) -> None:
    folder = write_tum(tmp_path)
    (wanted,) = READERS["tum"](folder)
    rewrite("groundtruth.txt", lambda text: text.replace(" ", ","))(folder)
    rewrite("rgb.txt", lambda text: text.replace(".png", " a.png"))(folder)
    for image in (folder / "rgb").iterdir():
        image.rename(image.with_name(f"{image.stem} a.png"))
    (sequence,) = READERS["tum"](folder)
    sequence.check()
    np.testing.assert_array_equal(
        [frame.camera_from_world for frame in sequence.frames],
        [frame.camera_from_world for frame in wanted.frames],
    )


@pytest.mark.parametrize(
    "pose", ["0 0 0 0 0 0 0", "0 0 0 0.1 0 0 0", "nan 0 0 0 0 0 1", "inf 0 0 0 0 0 1"]
)
def test_a_row_without_a_rigid_motion_is_left_out(pose: str, tmp_path: Path) -> None:
    folder = write_tum(tmp_path)
    stamps = [f"1305031452.{791720 + i * 33000}" for i in range(FRAMES)]
    rows = [f"{stamp} {pose if i == 1 else '1 2 3 0 0 0 1'}" for i, stamp in enumerate(stamps)]
    (folder / "groundtruth.txt").write_text("\n".join(rows))
    (sequence,) = READERS["tum"](folder)
    known = [bool(np.isfinite(frame.camera_from_world).all()) for frame in sequence.frames]
    assert known == [True, False, True, True]


def test_a_selection_is_every_nth_frame(tmp_path: Path) -> None:
    sequence = opened("nrgbd", tmp_path)
    chosen = sequence.selected(start=1, stride=3, frames=3)
    assert [f.image.stem for f in chosen.frames] == ["img1", "img4", "img7"]
    with pytest.raises(DatasetError, match="--start 20"):
        sequence.selected(start=20, stride=1, frames=0)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def first_word(word: str) -> Callable[[Path], None]:
    """Return what replaces the first word of the first line that is no comment."""

    def change(path: Path) -> None:
        lines = path.read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if not line.startswith("#"))
        lines[at] = " ".join((word, *lines[at].split()[1:]))
        path.write_text("\n".join(lines))

    return change


def zeros(path: Path) -> None:
    path.write_text("P2:" + " 0" * 12 + "\n")


@pytest.mark.parametrize(
    ("layout", "file", "damage", "message"),
    [
        ("tum", "*/rgb/*.png", cut, "truncated"),
        ("tum", "*/depth/*.png", Path.unlink, "is missing"),
        ("tum", "*/groundtruth.txt", Path.unlink, "groundtruth.txt is missing"),
        ("7scenes", "*/seq-03/*.depth.png", cut, "truncated"),
        ("7scenes", "*/seq-03/*000002.pose.txt", cut, "000002.pose.txt"),
        ("nrgbd", "*/focal.txt", Path.unlink, "focal.txt is missing"),
        ("long3d", "*/scan.ply", Path.unlink, "0 .ply files"),
        ("kitti odometry", "sequences/04/calib.txt", cut, "no row P2"),
        ("tum", "*/groundtruth.txt", first_word("abc"), "'abc' is no stamp"),
        ("tum", "*/groundtruth.txt", first_word("nan"), "'nan' is no stamp"),
        ("tum", "*/groundtruth.txt", first_word("1e400"), "'1e400' is no stamp"),
        ("tum", "*/groundtruth.txt", first_word("1.0 abc"), "got '1.0 abc"),
        ("kitti odometry", "sequences/04/calib.txt", zeros, "P2 is no projection"),
        ("kitti odometry", "sequences/04/times.txt", first_word("abc"), "'abc' is no stamp"),
        ("kitti odometry", "poses/04.txt", first_word("abc"), "numbers expected"),
        ("kitti odometry", "sequences/04/image_2/000003.png", Path.unlink, "4 rows for 3 images"),
        ("kitti depth", "val/*/image_02/data/*06.png", Path.unlink, "is missing"),
        ("sintel", "training/depth/alley_1/frame_0001.dpt", cut, "truncated"),
        ("sintel", "training/camdata_left/alley_1/frame_0003.cam", cut, "frame_0003.cam"),
    ],
)
def test_what_is_wrong_is_named(
    layout: str, file: str, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    name, write = LAYOUTS[layout]
    write(tmp_path)
    damage(min(tmp_path.glob(file)))
    with pytest.raises(DatasetError, match=message) as caught:
        READERS[name](tmp_path)[0].check()
    assert "\n" not in str(caught.value)


def test_another_unit_of_depth_is_noticed(tmp_path: Path) -> None:
    """Scale a data set of millimetres to metres."""
    scene = write_seven_scenes(tmp_path) / "seq-03"
    for path in scene.glob("*.depth.png"):
        save(path, np.full((HEIGHT, WIDTH), 3, np.uint16))
    with pytest.raises(DatasetError, match="another unit"):
        READERS["7scenes"](scene)[0].check()


def test_eight_bit_depth_is_refused(tmp_path: Path) -> None:
    folder = write_tum(tmp_path)
    save(min((folder / "depth").iterdir()), np.full((HEIGHT, WIDTH), 9, np.uint8))
    with pytest.raises(DatasetError, match="no 16-bit depth"):
        READERS["tum"](folder)[0].check()


@pytest.mark.parametrize("name", READERS)
def test_a_folder_of_something_else_says_what_is_expected(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected"):
        READERS[name](tmp_path)


def test_points_of_ply_files(tmp_path: Path) -> None:
    points = np.random.default_rng(1).uniform(-5, 5, (20, 3)).astype(np.float32)
    write_ply(tmp_path / "binary.ply", points, abs(points) / 5, points[:, 0])
    np.testing.assert_array_equal(read_ply_points(tmp_path / "binary.ply"), points)
    head = "ply\nformat ascii 1.0\nelement vertex 2\nproperty uchar red\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz")
    (tmp_path / "text.ply").write_text(f"{head}end_header\n9 1 2 3\n8 4 5 6\n")
    assert read_ply_points(tmp_path / "text.ply").tolist() == [[1, 2, 3], [4, 5, 6]]
    cut(tmp_path / "binary.ply")
    with pytest.raises(ValueError, match="truncated"):
        read_ply_points(tmp_path / "binary.ply")


def test_a_scan_is_met_by_the_cameras_ways_where_no_pixel_has_truth() -> None:
    rng = np.random.default_rng(2)
    surface = np.concatenate((rng.uniform(0, 4, (3000, 2)), rng.integers(0, 2, (3000, 1))), axis=1)
    surface[:1000] = surface[:1000, [2, 0, 1]]
    tally = StreamTally(6)
    for i in range(6):
        true = np.concatenate((np.eye(3), [[-0.3 * i], [-0.2 * (i % 3)], [-0.1 * i * i]]), axis=1)
        found = true * [[1, 1, 1, 0.5]]
        points = 0.5 * surface[i * 500 : i * 500 + 500].reshape(20, 25, 3)
        tally.add(FrameMetrics(found, None, points), FrameMetrics(true))
    errors = measures(tally, surface)["reconstruction"]
    assert errors["acc"] < 1e-3
    assert measures(tally)["reconstruction"] is None
