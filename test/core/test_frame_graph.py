# SPDX-License-Identifier: Apache-2.0
"""A frame as one graph, with numbers: a graph on the CPU reads and writes the same places in memory
as one on CUDA (test/cuda/test_graphs.py) would."""

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from infinitevggt_core import MemoryConfig, StreamSession, push_together
from infinitevggt_core.streaming import frame_graph
from support.core_samples import (
    EVICTING,
    FRAMES,
    IMPORTANCE,
    SMALLEST,
    WINDOW,
    present,
    small_frames,
    small_model,
)
from support.cpu_graph import record_on_cpu

STEADY = {
    "frames": replace(FRAMES, camera_frames=4),
    "importance": replace(IMPORTANCE, policy_options="moving_anchors=1, anchor_every=1000"),
    "window": WINDOW,
}
COUNT = 24


@pytest.fixture(autouse=True)
def graphs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(frame_graph.RECORDERS, "cpu", record_on_cpu)


def session(memory: MemoryConfig, graphs: bool = True, **options: Any) -> StreamSession:
    model = small_model()
    model.records_frames = graphs
    return StreamSession(model, memory, **options)


def assert_same(one: StreamSession, other: StreamSession, image: Tensor) -> None:
    """Both give the same bits for the next image and keep the same tokens."""
    ours, theirs = one.push(image), other.push(image)
    for a, b in zip(present(ours), present(theirs), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
    for layer in range(one.model.config.depth):
        assert torch.equal(one.token_frames(layer), other.token_frames(layer))


def replays(stream: StreamSession) -> int:
    return stream.segment.graph.replays


@pytest.mark.parametrize("stored", ["auto", "int8"])
@pytest.mark.parametrize("name", STEADY)
def test_a_replayed_frame_has_the_same_bits(name: str, stored: str) -> None:
    memory = replace(STEADY[name], dtype=stored)
    graph, eager = session(memory), session(memory, graphs=False)
    for image in small_frames(COUNT):
        assert_same(graph, eager, image)
    assert replays(graph) > COUNT // 3
    assert graph.segment.graph.recordings == 1
    assert replays(eager) == 0


def test_two_streams_and_points() -> None:
    graph, eager = (session(STEADY["frames"], on, points=True) for on in (True, False))
    for image in torch.stack((small_frames(COUNT), small_frames(COUNT, seed=1)), dim=1):
        assert_same(graph, eager, image)
    assert replays(graph) > 0


def test_a_prediction_stays_as_it_is() -> None:
    stream = session(WINDOW)
    kept = [(p, p.depth.clone()) for p in (stream.push(x) for x in small_frames(COUNT))]
    assert replays(stream) > 2
    for prediction, depth in kept:
        assert torch.equal(prediction.depth, depth)


def change_budget(stream: StreamSession) -> None:
    stream.configure(replace(stream.memory, total_budget=2 * SMALLEST))


def change_storage(stream: StreamSession) -> None:
    stream.configure(replace(stream.memory, dtype="int8"))


def change_policy(stream: StreamSession) -> None:
    stream.configure(replace(EVICTING, camera_frames=4))


def pin(stream: StreamSession) -> None:
    stream.configure(replace(stream.memory, total_budget=5 * SMALLEST))
    stream.pin()


def reload(stream: StreamSession) -> None:
    stream.load_state_dict(stream.state_dict())


CHANGES: list[Callable[[StreamSession], object]] = [
    change_budget,
    change_storage,
    change_policy,
    pin,
    reload,
    StreamSession.reanchor,
    StreamSession.reset,
]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_in_mid_stream(change: Callable[[StreamSession], object]) -> None:
    memory = STEADY["frames"]
    graph, eager = session(memory), session(memory, graphs=False)
    images = small_frames(2 * COUNT)
    for image in images[:COUNT]:
        assert_same(graph, eager, image)
    assert replays(graph) > 0
    first = graph.segment.graph
    for stream in (graph, eager):
        change(stream)
    for image in images[COUNT:]:
        assert_same(graph, eager, image)
    if change is not change_policy:
        assert graph.segment.graph is not first or first.recordings == 2


def test_anchors_that_move_are_recorded_anew() -> None:
    memory = replace(IMPORTANCE, policy_options="moving_anchors=2, anchor_every=8")
    graph, eager = session(memory), session(memory, graphs=False)
    for image in small_frames(40):
        assert_same(graph, eager, image)
    assert graph.segment.graph.recordings > 1


def test_sessions_pushed_together_now_and_then() -> None:
    pairs = [(session(WINDOW, graphs), session(WINDOW, graphs)) for graphs in (True, False)]
    for one, other in pairs:
        other.model = one.model
    (graph, _), (eager, _) = pairs
    for index, image in enumerate(small_frames(COUNT)):
        if index % 8 == 7:
            for pair in pairs:
                push_together(pair, [image, image])
        else:
            assert_same(graph, eager, image)
            for _, other in pairs:
                other.push(image)
    assert replays(graph) > 2


REFUSING = {
    "another operation each frame": EVICTING,
    "every second frame": replace(WINDOW, keyframe_interval=2),
    "growing": MemoryConfig(policy="full"),
}


@pytest.mark.parametrize("name", REFUSING)
def test_streams_that_are_not_steady_are_not_recorded(name: str) -> None:
    stream = session(REFUSING[name])
    for image in small_frames(COUNT):
        stream.push(image)
    assert stream.segment.graph.recordings == replays(stream) == 0


def test_a_failure_to_record_costs_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(work: Callable[[], None]) -> Callable[[], None]:
        record_on_cpu(work)
        raise RuntimeError("operation not permitted when the stream is capturing")

    monkeypatch.setitem(frame_graph.RECORDERS, "cpu", fail)
    graph, eager = session(STEADY["frames"]), session(STEADY["frames"], graphs=False)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for image in small_frames(COUNT):
            assert_same(graph, eager, image)
    (warning,) = warned
    assert re.search("operation by operation.*not permitted", str(warning.message))
    assert replays(graph) == 0
