# SPDX-License-Identifier: Apache-2.0
"""A run that was ended goes on to the same figures."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from infinitevggt_core import load_checkpoint
from infinitevggt_ros.bags.message_types import typestore_with
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.evaluation.bag_source import BagSource, BagSpec
from infinitevggt_ros.evaluation.journal import Journal
from infinitevggt_ros.evaluation.stream_run import StreamRun
from infinitevggt_ros.evaluation.sweep import jobs_of
from infinitevggt_ros.params.settings import Settings
from support.bag_evaluation import (
    FRAMES,
    POLICY,
    evaluate,
    measured,
    metrics,
)


class KilledError(Exception):
    """In the middle of a run."""


def killed_after(frames: int) -> Any:
    def progress(done: int) -> None:
        if done == frames:
            raise KilledError

    return progress


@pytest.mark.parametrize("snapshot_s", [0.0, 1e9])
def test_a_run_killed_half_way_resumes_to_the_same_figures(
    world_bag: Path, whole_run: Path, tmp_path: Path, snapshot_s: float
) -> None:
    """Once with a snapshot after nearly every frame, once with none: then it starts again."""
    out = tmp_path / "report"
    spec = BagSpec(world_bag.resolve())
    job = jobs_of([("world", spec)], Settings(), [POLICY], [1500], out, result_bag=True, threads=0)[
        0
    ]
    job.begin()
    run = StreamRun(spec.open(), job.settings, load_checkpoint("tiny"), out, result_bag=True)
    with pytest.raises(KilledError):
        run.run(killed_after(7), snapshot_s=snapshot_s)
    assert (out / "snapshot.pt").exists() == (snapshot_s == 0)
    assert evaluate(world_bag, "--out", out, "--total-budget", "1500") == 0
    assert measured(out) == measured(whole_run)
    assert metrics(out)["run"]["frames_used"] == FRAMES
    for name in ("trajectory.tum", "map.ply", "map.pcd"):
        assert (out / name).read_bytes() == (whole_run / name).read_bytes()
    assert outputs(out) == outputs(whole_run)


def outputs(folder: Path) -> list[Any]:
    """Return the messages of the result bag without times; bytes that only fill gaps made equal."""
    store = typestore_with("infinitevggt_ros/msg/StreamStatus")
    with BagReader(folder / "result.mcap") as reader:
        kinds = reader.topics
        return [
            (topic, at_ns, store.serialize_cdr(store.deserialize_cdr(data, kind), kind))
            for topic, at_ns, data in reader.messages()
            if not topic.endswith("/status") and (kind := kinds[topic])
        ]


def test_a_run_told_to_stop_goes_on_where_it_was(
    world_bag: Path, whole_run: Path, tmp_path: Path
) -> None:
    model, settings = load_checkpoint("tiny"), Settings()
    source = BagSource(BagSpec(world_bag))
    first = StreamRun(source, settings, model, tmp_path, result_bag=False)
    assert first.run(should_stop=lambda: first.frames_read == 5) is None
    seen: list[int] = []
    second = StreamRun(source, settings, model, tmp_path, result_bag=False)
    result = second.run(seen.append)
    assert seen == list(range(5, FRAMES + 1))
    assert result is not None
    assert result.log.figures()["frames_in"] == FRAMES


def test_another_run_in_the_folder_is_not_mixed_up_with_this_one(
    world_bag: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    shutil.copytree(whole_run, out)
    assert evaluate(world_bag, "--out", out) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert evaluate(world_bag, "--out", out, "--overwrite") == 0
    assert metrics(out)["parameters"]["memory"]["total_budget"] == 600_000


def test_a_journal_forgets_what_came_after_the_snapshot(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.append(0, 5, b"kept")
        length = journal.sync()
        journal.append(0, 6, b"lost")
    store = typestore_with()
    with Journal(tmp_path / "journal", length) as journal, BagWriter(tmp_path / "x.mcap") as bag:
        bag.add_topic("/words", "std_msgs/msg/String")
        text = store.types["std_msgs/msg/String"]("new")
        journal.append(0, 7, bytes(store.serialize_cdr(text, "std_msgs/msg/String")))
        journal.copy_to(bag, ["/words"])
    with BagReader(tmp_path / "x.mcap") as reader:
        assert [(at, bytes(data)[-4:-1]) for _, at, data in reader.messages()] == [
            (5, b"kep"),
            (7, b"new"),
        ]
