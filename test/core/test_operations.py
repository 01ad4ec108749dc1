# SPDX-License-Identifier: Apache-2.0
"""Counts of operations: a change that adds some to a frame of the default policy must say so here
and in docs/memory.md."""

import sys
from dataclasses import replace

import pytest

from benchmarks import operations
from benchmarks.operations import Frame, measure
from infinitevggt_core import MemoryConfig
from support.core_samples import FRAMES, HEIGHT, IMPORTANCE, SMALL, WIDTH, WINDOW

SIZE = (HEIGHT, WIDTH)
STEADY_AFTER = 9
EVICTION = {"frames": 102, "window": 64, "importance": 70}
"""Most operations of an eviction, whatever the number of layers: both caches."""
LAYER = 51
"""Most operations of a frame block and a global block with its attention."""
STORE = 6
"""Most operations that store a frame in a layer."""


def frame(memory: MemoryConfig, layers: int) -> Frame:
    config = replace(SMALL, depth=layers, dpt_layers=(0, 0, 1, 1))
    return measure(config, replace(memory, camera_frames=4), SIZE, frames=STEADY_AFTER)


@pytest.mark.parametrize("name", EVICTION)
def test_eviction_takes_the_same_operations_for_any_number_of_layers(name: str) -> None:
    memory = {"frames": FRAMES, "window": WINDOW, "importance": IMPORTANCE}[name]
    evictions = []
    for layers in (2, 4):
        budget = layers * memory.total_budget // 4
        cost = frame(replace(memory, total_budget=budget), layers).stages["memory: evict"]
        evictions.append(cost.operations.total())
    assert evictions[0] == evictions[1] <= EVICTION[name]


def test_a_layer_of_the_default_policy() -> None:
    budget = FRAMES.total_budget // 4
    shallow, deep = (frame(replace(FRAMES, total_budget=n * budget), n) for n in (2, 4))
    added = deep.total.operations.total() - shallow.total.operations.total()
    assert 0 < added / 2 <= LAYER
    store = deep.stages["memory: store"].operations.total()
    caches = 4 + 4 * SMALL.camera_trunk_depth
    assert store <= STORE * caches
    assert deep.total.flop > shallow.total.flop > 0
    assert deep.held > shallow.held > 0


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = "--model tiny --size 28 42 --budget 198 --frames 6 --precision fp32 --lines 2"
    monkeypatch.setattr(sys, "argv", ["operations", *arguments.split()])
    assert operations.main() == 0
    text = capsys.readouterr().out
    for stage in ("frame blocks", "memory: attention", "camera head", "all"):
        assert f"| {stage} |" in text
