# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt evaluate` from the command line."""

import json
from pathlib import Path

import pytest

from infinitevggt_ros.commands import cli

SMALL = ["--frames", "6", "--size", "28x42", "--checkpoint", "random:tiny", "--level", "easy"]
SMALL += ["--pose-source", "network"]
TOP = ("ate_percent", "rotation_deg_median", "depth_absrel", "depth_delta125")
TOP += ("acc", "comp", "nc", "fps", "memory_mb")


def test_worlds_give_a_table_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out" / "easy.json"
    options = ["--seeds", "10000-10001", "--policy", "window", "--json", str(path)]
    assert cli.main(["evaluate", "synthetic", *options, *SMALL]) == 0
    report = json.loads(path.read_text())
    assert [world["seed"] for world in report["worlds"]] == [10_000, 10_001]
    for name in TOP:
        errors = [world["errors"][name] for world in report["worlds"]]
        assert report[name] == pytest.approx(sum(errors) / 2)
    assert report["settings"]["memory"]["policy"] == "window"
    assert report["trivial"]["rotation_deg_median"] > 0
    said = capsys.readouterr().out
    for word in ("10000", "10001", "mean", "trivial", "AbsRel"):
        assert word in said


def test_tracking_is_measured_live_and_corrected(tmp_path: Path) -> None:
    path = tmp_path / "easy.json"
    options = ["--seeds", "10000", "--frames", "12", "--size", "120x160", "--level", "easy"]
    assert cli.main(["evaluate", "synthetic", *options, "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["settings"]["pose_source"] == "tracking"
    assert report["lost"] == 0
    for name in ("rotation_deg_median", "rotation_deg_median_corrected"):
        assert 0 < report[name] < 1
    assert 0 < report["ate_percent_corrected"] < 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "1"], "--frames must be 2 or more"),
        (["--size", "30x42"], "multiples of 14"),
        (["--checkpoint", "nowhere.pt"], "nowhere.pt"),
        (["--device", "cuda:9"], "model.device 'cuda:9'"),
        (["--total-budget", "0"], "total_budget must lie in"),
    ],
)
def test_mistakes_are_explained(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", "synthetic", "--seeds", "10000", *SMALL, *options]) == 1
    assert message in capsys.readouterr().err


def test_worlds_that_may_have_been_trained_on_are_remarked_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["evaluate", "synthetic", "--seeds", "5,10000", *SMALL]) == 0
    assert "may have been trained on" in capsys.readouterr().out


@pytest.mark.parametrize("seeds", ["9-3", "1,,2", "x"])
def test_seeds_that_are_none_are_refused(seeds: str) -> None:
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "synthetic", "--seeds", seeds, *SMALL])
