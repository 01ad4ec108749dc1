# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: the naive baseline gives our results, the stages add up."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import quality, rig, stream
from benchmarks.clock import Clock, StageClock
from benchmarks.naive_session import NaiveSession
from infinitevggt_core import VGGT, StreamSession
from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.evaluation import synthetic_world
from infinitevggt_core.memory import POLICIES, CacheShape, token_policy
from infinitevggt_core.model.geometry import invert
from infinitevggt_core.worlds import World
from support.core_samples import EVICTING, SMALL, SMALLEST, TOKENS, small_frames

TOLERANCE = 1e-5


@pytest.mark.parametrize("budget", [SMALLEST, SMALLEST + 37, 2 * SMALLEST])
def test_the_naive_session_gives_our_results(model: VGGT, budget: int) -> None:
    """Written apart from ours, over many evictions and moving budgets."""
    ours = StreamSession(model, replace(EVICTING, total_budget=budget, camera_frames=100))
    naive = NaiveSession(model, budget, points=False)
    for frame in small_frames(24):
        got, want = ours.push(frame), naive.push(frame)
        torch.testing.assert_close(got.pose_encoding, want.pose_encoding, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(got.depth, want.depth, atol=TOLERANCE, rtol=TOLERANCE)
        kept = [pair[0].shape[2] for pair in naive._tokens if pair is not None]
        assert ours.stored_tokens == kept
    assert sum(kept) <= budget
    per_token = 2 * SMALL.embed_dim * 4
    camera = 24 * 4 * SMALL.camera_trunk_depth * 2 * 2 * SMALL.embed_dim * 4
    assert naive.memory_bytes == sum(kept) * per_token + camera
    assert max(kept) > 2 * TOKENS or budget == SMALLEST


def test_a_stage_in_a_stage_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = Clock("wall", torch.device("cpu")), [0.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    class Network:
        def head(self) -> None:
            wait(4)

        def block(self) -> None:
            wait(1)
            self.head()
            wait(2)

    network, stages = Network(), StageClock(clock)
    with stages.watching([(network, "block", "blocks"), (network, "head", "heads")]):
        network.block()
        wait(8)
        network.head()
    network.block()
    assert stages.seconds == {"blocks": 3, "heads": 8, "rest": 8}


def test_a_run_goes_on_where_another_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ("small", "lingbot", "length"):
        arguments = ["stream", "--out", str(tmp_path), "--dry", "--cases", case]
        monkeypatch.setattr(sys, "argv", arguments)
        assert stream.main() == 0
    results = json.loads((tmp_path / "stream.json").read_text())
    assert list(results) == ["small", "lingbot", "length"]
    naive = results["small"]["measured"]["naive"]
    assert naive["difference"] < 1e-4
    assert naive["stages_ms"]["eviction"] > 0
    assert results["length"]["figures"][1]["value"] == 1, "bytes"
    assert "naive / ours, time" in (tmp_path / "stream.md").read_text()
    assert (tmp_path / "stream.png").read_bytes().startswith(b"\x89PNG")


def test_worlds_are_added_to_a_comparison_of_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic_world, "SURFACE_POINTS", 2000)
    fixed = ["quality", "--out", str(tmp_path), "--level", "easy", "--policies", "window", "full"]
    fixed += ["--budgets", "4", "--frames"]
    for seed in ("10000", "10001"):
        monkeypatch.setattr(sys, "argv", [*fixed, "6", "--seeds", seed])
        assert quality.main() == 0
    results = json.loads((tmp_path / "quality.json").read_text())
    assert list(results["worlds"]) == ["10000", "10001"]
    window, everything = results["worlds"]["10001"]
    assert (window["name"], everything["name"]) == ("window", "full")
    assert 0 < window["memory_mb"] < everything["memory_mb"]
    assert window["ate_percent"] != everything["ate_percent"]
    mean = sum(rows[0]["ate_percent"] for rows in results["worlds"].values()) / 2
    assert f"| window | 4 | {mean:.2f} |" in (tmp_path / "quality.md").read_text()
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(sys, "argv", [*fixed, "7"])
    with pytest.raises(SystemExit, match="other settings"):
        quality.main()
    monkeypatch.setattr(sys, "argv", [*fixed, "6", "--seeds", "5"])
    with pytest.raises(SystemExit):
        quality.main()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("held", [4, 5, 40])
def test_each_policy_is_compared_at_the_same_tokens(policy: str, held: int) -> None:
    variant = quality.Variant(policy, held, "auto", "fp32")
    memory, layers, tokens = variant.memory(6 * TOKENS), 6, TOKENS
    memory.check_budget(layers, tokens)
    own = token_policy(memory)
    anchors = memory.anchor_frames + own.most_temporary_anchors
    shape = CacheShape(layers, tokens, anchors, special_tokens=SMALL.special_tokens)
    want = UNLIMITED if policy == "full" else held * 6 * TOKENS
    if policy == "trajectory":  # special tokens take the place of a frame
        assert want - 6 * TOKENS < own.capacity(shape) <= want
    else:
        assert own.capacity(shape) == want


def test_the_rig_of_the_benchmark_stands_as_far_apart_as_it_says() -> None:
    left = World(10_000, "easy")
    right = rig.world_to_the_right(left, 0.3)
    one, other = (world.render([5], 28, 42).frame(0) for world in (left, right))
    between = one.camera_from_world @ to_4x4(invert(other.camera_from_world))
    torch.testing.assert_close(between[:, :3], torch.eye(3).double())
    torch.testing.assert_close(between[:, 3], torch.tensor([0.3, 0, 0]).double())
    assert not torch.equal(one.image, other.image)


def to_4x4(transform: torch.Tensor) -> torch.Tensor:
    return torch.cat((transform, torch.tensor([[0, 0, 0, 1.0]]).double()))
