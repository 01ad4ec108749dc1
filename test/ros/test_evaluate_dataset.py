# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt evaluate dataset`, on a world that is written as a data set."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from infinitevggt_core.evaluation.datasets import READERS
from infinitevggt_core.worlds import World
from infinitevggt_ros.commands import cli
from infinitevggt_ros.commands.evaluate_bag import DATASETS

SEED, FRAMES, HEIGHT, WIDTH = 10_007, 10, 84, 112


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TUM RGB-D."""
    path = tmp_path_factory.mktemp("tum") / "rgbd_dataset_world"
    film = World(SEED, "easy").render(list(range(FRAMES)), HEIGHT, WIDTH)
    lists: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": []}
    for kind in ("rgb", "depth"):
        (path / kind).mkdir(parents=True)
    for i in range(FRAMES):
        stamp = f"{1 + i // 10}.{i % 10}00000"
        rgb = (film.images[i] * 255).round().byte().permute(1, 2, 0).numpy()
        depth = (film.depth[i] * 5000).round().numpy().astype(np.uint16)
        for kind, pixels in (("rgb", rgb), ("depth", depth)):
            Image.fromarray(pixels).save(path / kind / f"{stamp}.png")
            lists[kind].append(f"{stamp} {kind}/{stamp}.png")
        pose = film.camera_from_world[i].double().numpy()
        turned = pose[:, :3].T
        numbers = [*(-turned @ pose[:, 3]), *Rotation.from_matrix(turned).as_quat()]
        lists["groundtruth"].append(f"{stamp} {' '.join(map(str, numbers))}")
    for kind, lines in lists.items():
        (path / f"{kind}.txt").write_text("\n".join(lines))
    return path


def test_a_data_set_and_a_bag_of_one_world_have_the_same_figures(
    folder: Path, tmp_path: Path
) -> None:
    """But for the depth's 16 bits: one code measures both."""
    bag = tmp_path / "world.mcap"
    film = ["--seed", str(SEED), "--frames", str(FRAMES), "--level", "easy"]
    assert cli.main(["synthetic-bag", *film, "--size", f"{HEIGHT}x{WIDTH}", str(bag)]) == 0
    common = ["--intrinsics", "predicted", "--no-result-bag"]
    run = ["evaluate", "dataset", "tum", str(folder), "--out", str(tmp_path / "a"), *common]
    assert cli.main(run) == 0
    assert cli.main(["evaluate", "bag", str(bag), "--out", str(tmp_path / "b"), *common]) == 0
    found, bagged = (json.loads((tmp_path / x / "metrics.json").read_text()) for x in "ab")
    assert found["run"]["frames_used"] == FRAMES
    for kind in ("sim3", "se3"):
        assert found["trajectory"][kind] == pytest.approx(bagged["trajectory"][kind], rel=1e-3)
    for name in ("absrel", "scale"):
        assert found["depth"]["scale"][name] == pytest.approx(
            bagged["depth"]["scale"][name], rel=1e-3
        )


def test_a_selection_and_its_frames_are_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selection = ["--start", "1", "--stride", "2", "--frames", "4"]
    run = ["evaluate", "dataset", "tum", str(folder), "--out", str(tmp_path / "r"), *selection]
    assert cli.main(run) == 0
    assert "4, from 1 on, every 2." in capsys.readouterr().out
    found = json.loads((tmp_path / "r/metrics.json").read_text())
    assert found["run"]["frames_in"] == 4
    stamps = [line.split()[0] for line in (tmp_path / "r/trajectory.tum").read_text().splitlines()]
    assert stamps[1:3] == ["1.100000000", "1.300000000"]


def test_a_missing_folder_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "dataset", "sintel", str(tmp_path / "nowhere")]) == 1
    said = capsys.readouterr().err.strip()
    assert "training/final" in said
    assert "\n" not in said


def test_every_reader_has_its_name_on_the_command_line() -> None:
    assert set(DATASETS) == set(READERS)
