# SPDX-License-Identifier: Apache-2.0
"""Several settings or bags at once, and which setting to choose."""

from pathlib import Path
from typing import Any

import pytest

from infinitevggt_core.model.model_card import model_note
from infinitevggt_ros.evaluation.summary import advice, recommended
from support.bag_evaluation import (
    evaluate,
    metrics,
    rewritten,
)


def test_a_sweep_has_a_row_for_each_setting(
    world_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    options = ["--out", out, "--policy", "diversity,window", "--total-budget", "700,3000"]
    assert evaluate(world_bag, *options, "--no-result-bag") == 0
    runs = metrics(out)["runs"]
    assert [run["label"] for run in runs] == ["diversity 700", "diversity 3000", "window"]
    kept = [run["run"]["tokens_kept"] for run in runs]
    assert kept[0] <= 700 < kept[1] <= 3000
    said, page = capsys.readouterr().out, (out / "index.html").read_text()
    assert "needs the least memory" in said
    note = model_note("tiny")
    assert (said.count(note), page.count(note)) == (1, 1), "said once of all runs"
    assert all(run["label"] in page for run in runs)
    # again: nothing is run twice
    stamp = (out / "world-diversity-700/map.ply").stat().st_mtime_ns
    assert evaluate(world_bag, *options, "--no-result-bag") == 0
    assert (out / "world-diversity-700/map.ply").stat().st_mtime_ns == stamp


def test_several_bags_have_a_mean(world_bag: Path, tmp_path: Path) -> None:
    other = rewritten(world_bag, tmp_path / "other.mcap", {})
    small = ["--no-result-bag", "--policy", "window"]
    assert evaluate(world_bag, other, "--out", tmp_path / "r", *small) == 0
    found = metrics(tmp_path / "r")
    assert [run["name"] for run in found["runs"]] == ["world", "other"]
    ate = [run["trajectory"]["sim3"]["ate_rmse"] for run in found["runs"]]
    assert found["means"]["window"]["ATE m"] == pytest.approx(sum(ate) / 2)


def test_the_setting_of_least_memory_among_the_good_ones_is_recommended() -> None:
    def run(name: str, ate: float, absrel: float, memory: float) -> dict[str, Any]:
        return {
            "label": name,
            "trajectory": {"sim3": {"ate_rmse": ate}},
            "depth": {"scale": {"absrel": absrel}},
            "run": {"stream_memory_mb": memory},
        }

    runs = [run("all", 0.10, 0.050, 90), run("half", 0.105, 0.054, 50), run("few", 0.2, 0.05, 9)]
    assert recommended(runs)["label"] == "half"
    # paths hardly better than none are not to be chosen from
    for useless in runs:
        useless["name"], useless["trajectory"]["ate_rmse_standing"] = "room", 0.15
    assert advice(runs) == [
        "room: no setting follows the camera; the error of standing still is 0.150 m"
    ]
    runs[0]["trajectory"]["ate_rmse_standing"] = 0.25
    assert "half needs" in advice(runs)[0]
    # none is as good as the best in both: the least bad one
    assert recommended([run("a", 0.1, 0.2, 5), run("b", 0.15, 0.1, 9)])["label"] == "b"
