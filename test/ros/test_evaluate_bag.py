# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt evaluate bag`: bags of a synthetic world, whose truth is known."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from infinitevggt_core import load_checkpoint
from infinitevggt_ros.commands.evaluate_bag import configure_bag, settings_of
from infinitevggt_ros.evaluation.bag_source import BagSpec
from infinitevggt_ros.evaluation.stream_run import StreamRun
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.state_file import write_state
from support.bag_evaluation import (
    DEPTH,
    FRAMES,
    IMAGE,
    MEASURED,
    ODOMETRY,
    evaluate,
    measured,
    metrics,
    only,
    rewritten,
)
from support.bag_making import converted, read_bag


def test_a_bag_leaves_all_figures_and_files(
    world_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    assert evaluate(world_bag, "--out", out) == 0
    said = capsys.readouterr().out
    for choice in (IMAGE, DEPTH, "/tf", "camera_optical_frame", "ATE", "AbsRel", "Sim(3)"):
        assert choice in said
    found = metrics(out)
    run = found["run"]
    assert (run["frames_in"], run["frames_used"], run["frames_rejected"]) == (FRAMES, FRAMES, 0)
    latency = run["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["max"]
    assert found["parameters"]["memory"]["total_budget"] == 600_000
    assert found["machine"]["device"]
    assert "commit" in found["machine"]
    assert set(found["depth"]) == {"scale", "scale_shift", "metric"}
    assert found["reconstruction"]["chamfer"] > 0
    lines = (out / "trajectory.tum").read_text().splitlines()
    assert len(lines) == FRAMES + 1
    assert lines[1].split()[0] == "1.000000000"
    assert found["trajectory_corrected"]["poses"] == found["trajectory"]["poses"]
    assert len((out / "corrected.tum").read_text().splitlines()) == FRAMES + 1
    topics = [topic for topic, _, _ in read_bag(out / "result.mcap")]
    for topic in ("/tf", "/infinitevggt/odometry", "/infinitevggt/depth/image"):
        assert topics.count(topic) == FRAMES
    assert topics.count("/infinitevggt/map") == 1
    assert not {"snapshot.pt", "journal"} & {path.name for path in out.iterdir()}


@pytest.fixture(params=["world.db3", "folder", "zstd", "world.bag"])
def other_form(request: pytest.FixtureRequest, world_bag: Path, tmp_path: Path) -> Path:
    """The same messages in another kind of bag."""
    path = tmp_path / request.param
    if request.param == "world.bag":
        converted(world_bag, path)
    elif request.param == "zstd":
        options = {"dst_storage": "mcap", "compress": "zstd", "compress_mode": "message"}
        converted(world_bag, path, **options)
    else:
        rewritten(world_bag, path, {})
    return path


def test_every_kind_of_bag_gives_the_same_figures(
    other_form: Path, whole_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    assert evaluate(other_form, "--out", out, "--total-budget", "1500") == 0
    assert measured(out) == measured(whole_run)


def test_a_bag_of_images_alone_has_a_report_without_errors(world_bag: Path, tmp_path: Path) -> None:
    bag = only(IMAGE, world_bag, tmp_path / "images.mcap")
    assert evaluate(bag, "--out", tmp_path / "report") == 0
    assert measured(tmp_path / "report") == dict.fromkeys(MEASURED)
    assert (tmp_path / "report/index.html").exists()


def test_bad_images_are_counted_with_their_reason(world_bag: Path, tmp_path: Path) -> None:
    def cut(message: Any, types: Any) -> Any:
        if message.header.stamp.nanosec == 300_000_000:
            message.data = message.data[:100]
        return message

    bag = rewritten(world_bag, tmp_path / "cut.mcap", {IMAGE: ("sensor_msgs/msg/Image", cut)})
    assert evaluate(bag, "--out", tmp_path / "report", "--no-result-bag") == 0
    run = metrics(tmp_path / "report")["run"]
    assert (run["frames_used"], run["frames_rejected"]) == (FRAMES - 1, 1)
    assert "truncated" in next(iter(run["rejections"]))
    assert not (tmp_path / "report/result.mcap").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image", "/nowhere"], "has no topic /nowhere"),
        (["--image", ODOMETRY], "not images"),
        (["--truth", DEPTH], DEPTH),
        (["--truth", ODOMETRY, "--truth-frame", "elsewhere"], "--truth-frame"),
        (["--checkpoint", "nowhere.pt"], "nowhere.pt"),
        (["--total-budget", "5"], "smallest that works is"),
        (["--device", "cuda:9"], "cuda:9"),
    ],
)
def test_mistakes_are_explained(
    world_bag: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(world_bag, "--out", tmp_path / "report", *options) == 1
    assert message in capsys.readouterr().err


def test_a_bag_is_evaluated_in_a_saved_map_which_stays_as_it_is(
    world_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = StreamRun(
        BagSpec(world_bag.resolve()).open(),
        Settings(),
        load_checkpoint("tiny"),
        tmp_path,
        result_bag=False,
    )
    first.run()
    state, out = tmp_path / "state.pt", tmp_path / "report"
    write_state(state, first.stream.state_dict())
    given = (world_bag, "--no-result-bag", "--out", out, "--localization-only")
    assert evaluate(*given, "--state", state) == 0
    assert metrics(out)["run"]["map_points"] == len(first.stream.map) > 0
    assert metrics(out)["run"]["frames_used"] == FRAMES
    capsys.readouterr()
    assert evaluate(*given) == 1
    assert "needs --state" in capsys.readouterr().err
    assert evaluate(*given, "--overwrite", "--state", tmp_path / "none.pt") == 1
    assert "none.pt cannot be used" in capsys.readouterr().err


def test_the_path_of_a_state_holds_in_every_folder() -> None:
    parser = argparse.ArgumentParser()
    configure_bag(parser)
    for given, expected in (([], ""), (["--state", "map.pt"], str(Path.cwd() / "map.pt"))):
        options = parser.parse_args(["walk.mcap", *given])
        assert settings_of(options).state.path == expected
