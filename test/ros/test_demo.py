# SPDX-License-Identifier: Apache-2.0
"""The whole chain: images to bag, replay, node, recorder, files; each in a process of its own."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from infinitevggt_ros.commands.demo import FRAMES
from infinitevggt_ros.msg import StreamStatus
from support.bag_making import read_bag, stamp_ns
from support.real_photos import REAL, SEQUENCES, needs_photos

pytestmark = pytest.mark.ros
CLI = [sys.executable, "-m", "infinitevggt_ros.commands.cli"]


def infinitevggt(*arguments: object, timeout_s: float = 120) -> str:
    """Standard output of a command that must succeed."""
    result = subprocess.run(
        [*CLI, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout


def read_ply(path: Path) -> tuple[int, bytes]:
    """Number of vertices and the bytes after the header."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    [count] = [line.split()[-1] for line in header.splitlines() if line.startswith(b"element")]
    return int(count), body


def check_results(out: Path, frames: int) -> None:
    """Every file is whole, and they agree with each other."""
    messages: dict[str, list[object]] = {}
    for topic, _, message in read_bag(out / "result.mcap"):
        messages.setdefault(topic.removeprefix("/infinitevggt/"), []).append(message)
    messages["/tf"] = [m for m in messages["/tf"] if m.transforms[0].header.frame_id == "map"]
    # the node also reports that it waits, and that a slow first image was sent a second time
    messages["status"] = [m for m in messages["status"] if m.outcome == StreamStatus.PROCESSED]
    for topic in ("odometry", "depth/image", "depth/confidence", "status", "/tf"):
        assert len(messages[topic]) == frames, topic
    poses = np.loadtxt(out / "trajectory.tum", ndmin=2)
    assert poses.shape == (frames, 8)
    np.testing.assert_allclose(np.linalg.norm(poses[:, 4:], axis=1), 1, atol=1e-6)
    stamps = [stamp_ns(message) for message in messages["odometry"]]
    written = [line.split()[0] for line in (out / "trajectory.tum").read_text().splitlines()[1:]]
    assert [f"{ns // 10**9}.{ns % 10**9:09d}" for ns in stamps] == written
    count, body = read_ply(out / "map.ply")
    assert count == messages["map"][-1].width > 100
    assert len(body) == count * struct.calcsize("<3f3Bf")
    picture = cv2.imread(str(out / "overview.png"))
    assert min(picture.shape[:2]) > 600
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000, "the picture shows something"


@pytest.mark.timeout(900)
def test_the_demo_walks_through_rooms_and_closes_a_loop(tmp_path: Path) -> None:
    said = infinitevggt("demo", "--out", tmp_path / "demo", timeout_s=850)
    check_results(tmp_path / "demo", FRAMES)
    assert f"{FRAMES} images used, 0 refused, 0 dropped" in said
    assert "RANDOM" not in said
    assert "Sim(3)-aligned" in said
    assert said.count("synthetic rooms only") == 1, "the limits of the default weights are said"
    size = (tmp_path / "demo" / "result.mcap").stat().st_size
    assert size < 30e6, "whole maps are recorded once"
    [loops] = re.findall(r"corrected, (\d+) loop closures", said)
    assert int(loops) > 0
    [(error_deg, turned_deg)] = re.findall(r"rotation error ([\d.]+) deg of ([\d.]+) deg", said)
    assert float(error_deg) < float(turned_deg) / 2, "an inverse pose would be wrong by twice that"
    live, corrected = (float(found) for found in re.findall(r"ATE [\d.]+ m, ([\d.]+) %", said))
    assert live < 3
    assert corrected < min(0.5, live / 3), "the loop is closed where it is"
    [absrel] = re.findall(r"depth AbsRel ([\d.]+)", said)
    assert float(absrel) < 0.25


def test_random_weights_are_called_so(tmp_path: Path) -> None:
    checkpoint = ("--checkpoint", "random:tiny")
    said = infinitevggt("demo", "--out", tmp_path / "demo", "--frames", 5, *checkpoint)
    check_results(tmp_path / "demo", 5)
    assert "RANDOM WEIGHTS" in said


def test_the_demo_takes_compressed_bags(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(photos / f"{i}.jpg"), image)
    infinitevggt("images-to-bag", photos, tmp_path / "bag.mcap", "--compressed")
    infinitevggt("demo", "--out", tmp_path / "demo", "--bag", tmp_path / "bag.mcap")
    check_results(tmp_path / "demo", 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bag", "/nowhere.mcap"), "does not exist"),
        (("--frames", "0"), "--frames"),
        (("--param", "x"), "NAME:=VALUE"),
        (("--frames", "1", "--checkpoint", "/nowhere.pt"), "no such file"),
        (("--frames", "3", "--param", "scale.source:=odometry"), "waited for the scale from"),
    ],
)
def test_the_demo_explains_mistakes(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    command = [*CLI, "demo", "--out", str(tmp_path), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@needs_photos
@pytest.mark.parametrize("name", SEQUENCES)
def test_real_photos_run_through_the_tiny_network(tmp_path: Path, name: str) -> None:
    infinitevggt("images-to-bag", REAL / name, tmp_path / "real.mcap", "--fov", 60)
    infinitevggt("demo", "--out", tmp_path / "demo", "--bag", tmp_path / "real.mcap")
    check_results(tmp_path / "demo", SEQUENCES[name])


@needs_photos
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "frames"), [("static_room", 3), ("dynamic_car", 2)])
def test_real_photos_run_through_the_full_size_network(
    tmp_path: Path, name: str, frames: int
) -> None:
    """The published sizes, 1.26 G parameters, with random weights; about 15 s a frame on a CPU."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted((REAL / name).iterdir())[:frames]:
        (photos / photo.name).symlink_to(photo)
    infinitevggt("images-to-bag", photos, tmp_path / "real.mcap", "--fov", 60)
    arguments = ("--bag", tmp_path / "real.mcap", "--checkpoint", "random:full")
    infinitevggt("demo", "--out", tmp_path / "demo", *arguments, timeout_s=580)
    check_results(tmp_path / "demo", frames)
