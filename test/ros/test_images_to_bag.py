# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt images-to-bag`, and the bags it writes."""

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from math import radians, tan
from pathlib import Path

import cv2
import numpy as np
import pytest

from infinitevggt_ros.bags.image_bag import frame_stamp_ns
from infinitevggt_ros.bags.image_source import SourceImage
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.commands import images_to_bag
from infinitevggt_ros.commands.cli import main
from infinitevggt_ros.errors import CommandError
from support.bag_making import IMAGE_TOPIC, noise, read_bag, stamp_ns


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three png images of noise, whose natural order is not their alphabetical one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate(["frame2.png", "frame10.png", "Frame11.png"]):
        cv2.imwrite(str(folder / name), noise(48, 64, seed=index))
    return folder


def convert(*arguments: object) -> int:
    return main(["images-to-bag", *map(str, arguments)])


def rgb(message: object) -> np.ndarray:
    return np.asarray(message.data).reshape(message.height, message.width, 3)


@pytest.mark.parametrize("out", ["room.mcap", "room.db3", "room"])
def test_pixels_come_back_exactly_in_natural_order_from_every_storage(
    photos: Path, tmp_path: Path, out: str
) -> None:
    assert convert(photos, tmp_path / out) == 0
    messages = read_bag(tmp_path / out)
    assert [topic for topic, _, _ in messages] == [IMAGE_TOPIC] * 3
    for index, (_, _, message) in enumerate(messages):
        assert message.encoding == "rgb8"
        assert message.step == 64 * 3
        assert message.header.frame_id == "camera_optical_frame"
        np.testing.assert_array_equal(rgb(message)[..., ::-1], noise(48, 64, seed=index))


def test_mcap_and_db3_are_single_files_and_nothing_else_is_left(
    photos: Path, tmp_path: Path
) -> None:
    convert(photos, tmp_path / "a.mcap")
    convert(photos, tmp_path / "b.db3")
    convert(photos, tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap", "b.db3", "c", "photos"]
    assert (tmp_path / "a.mcap").is_file()
    assert (tmp_path / "b.db3").is_file()
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["c.mcap", "metadata.yaml"]


def test_a_photo_with_smooth_content_survives_a_jpeg_file_as_opencv_decodes_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    y, x = np.mgrid[0:480, 0:640]
    photo = np.stack([x * 255 // 639, y * 255 // 479, (x + y) % 256], -1).astype(np.uint8)
    cv2.circle(photo, (320, 240), 90, (20, 200, 240), -1, cv2.LINE_AA)
    cv2.imwrite(str(folder / "photo.jpg"), photo)
    assert convert(folder, tmp_path / "a.mcap") == 0
    [(_, _, message)] = read_bag(tmp_path / "a.mcap")
    np.testing.assert_array_equal(
        rgb(message)[..., ::-1], cv2.imread(str(folder / "photo.jpg"), cv2.IMREAD_COLOR)
    )


def test_stamps_are_exact_nanoseconds_in_header_and_bag(photos: Path, tmp_path: Path) -> None:
    start = "1700000000.123456789"
    assert convert(photos, tmp_path / "a.mcap", "--rate", 3, "--start-stamp", start) == 0
    expected = [1_700_000_000_123_456_789 + step for step in (0, 333_333_333, 666_666_667)]
    messages = read_bag(tmp_path / "a.mcap")
    assert [stamp for _, stamp, _ in messages] == expected
    assert [stamp_ns(message) for _, _, message in messages] == expected


def test_rounding_does_not_grow_along_a_long_bag() -> None:
    rate_hz = Fraction(30000, 1001)
    assert frame_stamp_ns(5, 30_000 * 1000, rate_hz) == 5 + 1_001_000 * 10**9


def test_field_of_view_becomes_the_matrix_of_camera_info(photos: Path, tmp_path: Path) -> None:
    assert convert(photos, tmp_path / "a.mcap", "--fov", 90, "--topic", "/left/image") == 0
    messages = read_bag(tmp_path / "a.mcap")
    infos = [(stamp, m) for topic, stamp, m in messages if topic == "/left/camera_info"]
    images = [(stamp, m) for topic, stamp, m in messages if topic == "/left/image"]
    assert [stamp for stamp, _ in infos] == [stamp for stamp, _ in images]
    info = infos[0][1]
    assert info.header == images[0][1].header
    focal_px = 32 / tan(radians(45))
    assert list(info.k) == pytest.approx([focal_px, 0, 32, 0, focal_px, 24, 0, 0, 1])
    assert list(info.p) == pytest.approx([focal_px, 0, 32, 0, 0, focal_px, 24, 0, 0, 0, 1, 0])
    assert (info.width, info.height, info.distortion_model) == (64, 48, "plumb_bob")


def test_without_a_field_of_view_there_is_no_camera_info(photos: Path, tmp_path: Path) -> None:
    convert(photos, tmp_path / "a.mcap")
    assert {topic for topic, _, _ in read_bag(tmp_path / "a.mcap")} == {IMAGE_TOPIC}


@pytest.mark.parametrize(("suffix", "name"), [("jpg", "jpeg"), ("png", "png")])
def test_compressed_files_are_stored_byte_for_byte(tmp_path: Path, suffix: str, name: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / f"a.{suffix}"), noise(48, 64, seed=1))
    assert convert(folder, tmp_path / "a.mcap", "--compressed") == 0
    [(topic, _, message)] = read_bag(tmp_path / "a.mcap")
    assert topic == f"{IMAGE_TOPIC}/compressed"
    assert message.format == name
    assert bytes(message.data) == (folder / f"a.{suffix}").read_bytes()


def test_a_jpeg_that_exif_turns_is_written_upright_both_ways(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    encoded = cv2.imencode(".jpg", cv2.resize(noise(6, 8, seed=1), (64, 48)))[1].tobytes()
    quarter_turn = (
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
    )
    segment = b"\xff\xe1" + (len(quarter_turn) + 2).to_bytes(2, "big") + quarter_turn
    (folder / "a.jpg").write_bytes(encoded[:2] + segment + encoded[2:])
    convert(folder, tmp_path / "raw.mcap")
    convert(folder, tmp_path / "compressed.mcap", "--compressed")
    [(_, _, raw)] = read_bag(tmp_path / "raw.mcap")
    [(_, _, compressed)] = read_bag(tmp_path / "compressed.mcap")
    decoded = cv2.imdecode(np.asarray(compressed.data), cv2.IMREAD_UNCHANGED)
    assert (raw.height, raw.width) == decoded.shape[:2] == (64, 48)


def test_one_channel_images_stay_one_channel(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    gray = noise(48, 64, seed=1)[..., 0]
    deep = np.random.default_rng(2).integers(0, 2**16, (48, 64), dtype=np.uint16)
    cv2.imwrite(str(folder / "1.png"), gray)
    cv2.imwrite(str(folder / "2.tif"), deep)
    assert convert(folder, tmp_path / "a.mcap") == 0
    first, second = (message for _, _, message in read_bag(tmp_path / "a.mcap"))
    assert (first.encoding, first.step) == ("mono8", 64)
    assert (second.encoding, second.step, second.is_bigendian) == ("mono16", 128, 0)
    np.testing.assert_array_equal(first.data.reshape(48, 64), gray)
    np.testing.assert_array_equal(second.data.view("<u2").reshape(48, 64), deep)


def test_large_images_are_shrunk_to_the_longer_side_and_keep_their_shape(
    photos: Path, tmp_path: Path
) -> None:
    convert(photos, tmp_path / "a.mcap", "--max-size", 32, "--fov", 90)
    messages = read_bag(tmp_path / "a.mcap")
    assert {(message.width, message.height) for _, _, message in messages} == {(32, 24)}
    info = next(message for topic, _, message in messages if topic.endswith("camera_info"))
    assert info.k[0] == pytest.approx(16)


def test_broken_files_are_named_and_skipped_and_leave_their_gap_in_time(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good_jpeg = cv2.imencode(".jpg", noise(48, 64, seed=9))[1].tobytes()
    (photos / "frame5.jpg").write_bytes(good_jpeg[: len(good_jpeg) // 2])
    (photos / "frame6.png").write_bytes(b"no image at all")
    (photos / "notes.txt").write_text("not an image, and not meant to be")
    assert convert(photos, tmp_path / "a.mcap", "--start-stamp", 0) == 0
    output = "".join(capsys.readouterr())
    assert "frame5.jpg" in output
    assert "frame6.png" in output
    assert "notes.txt" not in output
    assert "3 images" in output
    assert "2 broken files skipped" in output
    stamps = [stamp for _, stamp, _ in read_bag(tmp_path / "a.mcap")]
    assert stamps == [0, 300_000_000, 400_000_000]


def test_a_directory_of_broken_files_is_an_error_and_leaves_no_bag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    assert convert(folder, tmp_path / "a.mcap") == 1
    assert "no readable image" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_video_becomes_a_bag_at_its_own_rate(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    shades = (20, 90, 160, 230)
    for shade in shades:
        writer.write(np.full((48, 64, 3), (shade, 0, 0), np.uint8))  # blue
    writer.release()
    assert convert(path, tmp_path / "a.mcap", "--start-stamp", 0) == 0
    messages = read_bag(tmp_path / "a.mcap")
    assert [stamp for _, stamp, _ in messages] == [i * 40_000_000 for i in range(4)]
    means = [rgb(message).reshape(-1, 3).mean(0) for _, _, message in messages]
    np.testing.assert_allclose(means, [(0, 0, shade) for shade in shades], atol=8)


def test_an_existing_bag_is_kept_unless_overwriting_is_asked_for(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (tmp_path / "a.mcap", tmp_path / "b"):
        assert convert(photos, out, "--topic", "/old") == 0
        assert convert(photos, out, "--topic", "/new") == 1
        assert "--overwrite" in capsys.readouterr().err
        assert {topic for topic, _, _ in read_bag(out)} == {"/old"}
        assert convert(photos, out, "--topic", "/new", "--overwrite") == 0
        assert {topic for topic, _, _ in read_bag(out)} == {"/new"}


def test_a_directory_that_is_no_bag_is_never_replaced(photos: Path, tmp_path: Path) -> None:
    assert convert(photos, photos, "--overwrite") == 1
    assert len(list(photos.iterdir())) == 3


def test_a_failure_half_way_leaves_the_old_bag_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(b"the old bag")

    def write_half() -> None:
        with BagWriter(path, overwrite=True) as bag:
            bag.add_topic("/text", "std_msgs/msg/String")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert path.read_bytes() == b"the old bag"
    assert list(tmp_path.iterdir()) == [path]


def test_a_bag_that_cannot_be_written_is_a_readable_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CommandError, match="cannot write"):
        BagWriter(tmp_path / "file" / "a.mcap")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "a.mcap"], "does not exist"),
        ([".", "a.mcap"], "no image in"),
        ([__file__, "a.mcap"], "neither a directory of images nor a video"),
        (["photos", "a.mcap", "--fov", "180"], "between 0 and 180"),
        (["photos", "a.mcap", "--topic", "/a b"], "a topic name has"),
    ],
)
def test_mistakes_are_named_without_a_traceback(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert convert(*arguments) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [photos]


def test_it_runs_as_a_command_that_never_loads_ros(photos: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from infinitevggt_ros.commands.cli import main; "
        f"status = main(['images-to-bag', {str(photos)!r}, {str(tmp_path / 'a.mcap')!r}]); "
        "sys.exit(status or 'rclpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert len(read_bag(tmp_path / "a.mcap")) == 3


def test_files_that_opencv_cannot_read_are_counted_by_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "mixed"
    source.mkdir()
    for index in range(2):
        cv2.imwrite(str(source / f"{index}.jpg"), noise(48, 64, seed=index))
        (source / f"{index}.HEIC").write_bytes(b"ftypheic")
    assert convert(source, tmp_path / "a.mcap") == 0
    assert "2 .HEIC files" in capsys.readouterr().err


def test_images_of_several_sizes_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "sizes"
    source.mkdir()
    for index, size in enumerate([(48, 64), (48, 64), (64, 48)]):
        cv2.imwrite(str(source / f"{index}.png"), noise(*size, seed=index))
    assert convert(source, tmp_path / "a.mcap") == 0
    assert "2 of 64x48 px, 1 of 48x64 px" in capsys.readouterr().err


def test_frames_that_a_video_lost_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for index in range(20):
        writer.write(noise(48, 64, seed=index))
    writer.release()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert convert(path, tmp_path / "a.mcap") == 0
    assert "of 20 frames could be decoded" in capsys.readouterr().err


def test_frames_of_a_video_get_its_own_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera that drops frames leaves a video of a varying rate."""
    times = [0, 33_000_000, 900_000_000]

    class Video:
        count, skipped, rate_hz = 3, 0, Fraction(30)

        def images(self, report: object) -> Iterator[SourceImage]:
            for index, time_ns in enumerate(times):
                yield SourceImage(index, noise(48, 64, seed=index), time_ns=time_ns)

    monkeypatch.setattr(images_to_bag, "open_source", lambda _: Video())
    assert convert("a.mp4", tmp_path / "a.mcap", "--start-stamp", "5") == 0
    assert [ns for _, ns, _ in read_bag(tmp_path / "a.mcap")] == [5 * 10**9 + t for t in times]
    assert convert("a.mp4", tmp_path / "b.mcap", "--rate", "10", "--start-stamp", "5") == 0
    assert [ns for _, ns, _ in read_bag(tmp_path / "b.mcap")] == [
        5 * 10**9 + index * 10**8 for index in range(3)
    ]
