# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt adapt`: a bag in, weights and a report out, or neither."""

from pathlib import Path

import pytest

from infinitevggt_core import load_checkpoint, save_checkpoint
from infinitevggt_core.training.adaptation import Adaptation
from infinitevggt_ros.commands import adapt as command
from infinitevggt_ros.commands.cli import main
from support.runs import small_student


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag of a camera that moves, and the checkpoint of a small network."""
    path: Path = tmp_path_factory.mktemp("adapt")
    bag = ["synthetic-bag", str(path / "room.mcap"), "--frames", "130", "--level", "standard"]
    assert main([*bag, "--size", "120x160", "--seed", "10003", "--motion", "drone"]) == 0
    save_checkpoint(small_student(), path / "small.safetensors")
    return path


def adapt(folder: Path, out: Path, *more: str) -> int:
    bag, checkpoint = folder / "room.mcap", folder / "small.safetensors"
    return main(["adapt", str(bag), "--checkpoint", str(checkpoint), "--out", str(out), *more])


def test_weights_that_are_no_better_are_not_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adapt(folder, tmp_path / "mine.safetensors", "--steps", "1", "--lr", "0") == 1
    assert "no better" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_better_weights_and_a_report_are_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    better = small_student(1)
    monkeypatch.setattr(
        command, "adapt", lambda model, recording, *rest: Adaptation(0.4, 0.2, 30, better)
    )
    assert adapt(folder, tmp_path / "mine.safetensors") == 0
    assert load_checkpoint(tmp_path / "mine.safetensors").config == better.config
    page = (tmp_path / "mine.html").read_text()
    assert "0.400 before, 0.200 after 30 steps" in page
    assert page.count("<img") == 18
