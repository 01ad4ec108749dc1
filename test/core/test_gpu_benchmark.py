# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a GPU on the CPU; test/cuda runs it on the device."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu


def rows(path: Path) -> list[dict[str, Any]]:
    report = json.loads((path / "gpu.json").read_text())
    assert report["machine"]["device"] == "cpu"
    return list(report["rows"])


def run(path: Path, *arguments: str) -> int:
    return gpu.main(["--out", str(path), "--device", "cpu", "--small", *arguments])


def test_every_step_but_training(tmp_path: Path) -> None:
    steps = [step for step in gpu.STEPS if step != "train"]
    failed = run(tmp_path, "--steps", ",".join(steps))
    found = rows(tmp_path)
    errors = [(row["step"], row["row"]) for row in found if "error" in row]
    assert len(errors) == failed
    # kernels that a CPU does not have
    assert {step for step, _ in errors} == {"attention"}
    assert {row["step"] for row in found} == set(steps)
    (tokens,) = (row for row in found if row["row"] == "importance")
    assert tokens["tokens of the same frames"] == 1.0
    frames = [row for row in found if row["step"] == "frame"]
    assert [row["depth differs by"] for row in frames] == [0.0] * len(frames)
    assert (tmp_path / "profile.txt").stat().st_size > 0


def test_training_leaves_a_small_checkpoint(tmp_path: Path) -> None:
    assert run(tmp_path, "--steps", "train") == 0
    assert rows(tmp_path)[0]["last lines"]
    assert 0 < (tmp_path / "last.safetensors").stat().st_size < 16_000_000


def test_no_row_begins_after_the_time(tmp_path: Path) -> None:
    assert run(tmp_path, "--minutes", "0", "--steps", "ceilings,tokens") == 0
    assert not (tmp_path / "gpu.json").exists()


def test_an_unknown_step_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, "--steps", "ceilings,nonsense")
    assert "nonsense" in capsys.readouterr().err
