# SPDX-License-Identifier: Apache-2.0
"""A frame as one graph, with numbers: a graph on the CPU reads and writes the same places in memory
as one on CUDA (test/cuda/test_graphs.py) would."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    LINGBOT,
    SMALLEST,
    WINDOW,
    assert_predictions_close,
    present,
    small_frames,
    small_model,
)
from support.cpu_graph import record_on_cpu

STEADY = {
    "frames": replace(FRAMES, camera_frames=40),
    "importance": replace(
        IMPORTANCE, policy_options="moving_anchors=1, anchor_every=1000", camera_frames=40
    ),
    "window": WINDOW,
}
"""Memories of the camera head that are longer than the streams."""
COUNT = 24


class Recorder:
    """Records on the CPU, or fails to."""

    def __init__(self) -> None:
        self.works, self.record = True, record_on_cpu

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        if not self.works:
            raise RuntimeError("recording is off")
        return self.record(work)

    @contextmanager
    def off(self) -> Iterator[None]:
        self.works = False
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*recording is off")
            yield
        self.works = True


RECORDER = Recorder()


@pytest.fixture(autouse=True)
def graphs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(frame_graph.RECORDERS, "cpu", RECORDER)


def session(memory: MemoryConfig, **options: Any) -> StreamSession:
    return StreamSession(small_model(), memory, **options)


def assert_same(one: StreamSession, other: StreamSession, image: Tensor) -> None:
    """The second one, operation by operation, gives the same bits for the next image and keeps the
    same tokens."""
    ours = one.push(image)
    with RECORDER.off():
        theirs = other.push(image)
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
    graph, eager = session(memory), session(memory)
    for image in small_frames(COUNT):
        assert_same(graph, eager, image)
    assert replays(graph) > COUNT // 3
    assert graph.segment.graph.recordings == 1
    assert replays(eager) == 0


def test_two_streams_and_points() -> None:
    graph, eager = (session(STEADY["frames"], points=True) for _ in range(2))
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
    graph, eager = session(memory), session(memory)
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


def test_one_graph_holds_for_anchors_that_move() -> None:
    memory = replace(IMPORTANCE, policy_options="moving_anchors=2, anchor_every=5")
    graph, eager = session(memory), session(memory)
    for image in small_frames(40):
        assert_same(graph, eager, image)
    assert graph.segment.graph.recordings == 1
    assert replays(graph) > 20
    assert graph.eager_because == ""
    assert {30, 35} <= set(graph.token_frames(0).unique().tolist())


def test_layouts_that_change_all_the_time_are_not_recorded_for_ever() -> None:
    graph, eager = session(WINDOW), session(WINDOW)
    recordings = []
    for index, image in enumerate(small_frames(60)):
        if index % 5 == 4:
            for stream in (graph, eager):
                stream.configure(replace(WINDOW, window=3 + index // 5 % 2))
        assert_same(graph, eager, image)
        recordings.append(graph.segment.graph.recordings)
    assert 1 < recordings[-1] <= 3
    assert recordings[-1] == recordings[30]
    assert graph.eager_because == "the memory fills, or its settings change"


HELD = replace(
    EVICTING, total_budget=3 * SMALLEST, policy_options="budget_step=4, budget_frames=16"
)
"""Diversity, whose division of the budget holds for some frames."""


@pytest.mark.parametrize("stored", ["auto", "int8"])
def test_diversity_with_a_division_that_holds(stored: str) -> None:
    memory = replace(HELD, dtype=stored)
    graph, eager = session(memory), session(memory)
    divisions = set()
    for image in small_frames(3 * COUNT):
        assert_same(graph, eager, image)
        assert graph.layer_similarity == eager.layer_similarity
        divisions.add(tuple(graph.segment.memory.streams[0].limits))
    assert 2 < len(divisions) <= 1 + 3 * COUNT // 16
    assert graph.segment.graph.recordings > 1
    assert replays(graph) > COUNT


def test_a_snapshot_between_two_divisions() -> None:
    graph, other = session(HELD), session(HELD)
    images = small_frames(2 * COUNT)
    for image in images[:COUNT]:
        graph.push(image)
    other.load_state_dict(graph.state_dict())
    for image in images[COUNT:]:
        assert_same(graph, other, image)


LINGBOT_MEMORY = MemoryConfig(
    policy="trajectory", window=2, trajectory_frames=3, start_frames=2, anchor_frames=1
)


@pytest.mark.parametrize("pins", [False, True])
@pytest.mark.parametrize("stored", ["auto", "int8"])
def test_lingbot_map_with_a_full_memory(stored: str, pins: bool) -> None:
    memory = replace(LINGBOT_MEMORY, dtype=stored)
    graph, eager = (StreamSession(small_model(config=LINGBOT), memory) for _ in range(2))
    for index, image in enumerate(small_frames(COUNT)):
        if pins and index == 12:
            for stream in (graph, eager):
                stream.pin()
        assert_same(graph, eager, image)
    assert graph.segment.graph.recordings == 1 + pins
    assert replays(graph) > 6


def test_sessions_pushed_together_now_and_then() -> None:
    pairs = [(session(WINDOW), session(WINDOW)) for _ in range(2)]
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
                with RECORDER.off():
                    other.push(image)
    assert replays(graph) > 2


@pytest.mark.parametrize("camera_memory", ["per_iteration", "shared"])
def test_a_camera_memory_of_full_length_from_the_start_sees_the_same_frames(
    camera_memory: str,
) -> None:
    memory = replace(STEADY["frames"], camera_frames=8, camera_memory=camera_memory)
    whole, growing = session(memory), session(memory)
    growing.model.records_frames = False
    images = small_frames(COUNT)
    for index, image in enumerate(images):
        assert_predictions_close(whole.push(image), growing.push(image))
        if index == 12:
            for stream in (whole, growing):
                stream.configure(replace(memory, camera_frames=12))
                stream.pin()
    for layer in range(4):
        assert torch.equal(whole.token_frames(layer), growing.token_frames(layer))
    cameras = [stream.segment.memory.camera for stream in (whole, growing)]
    kept = [camera.frames(0).unique().tolist() for camera in cameras]
    assert kept[0] == kept[1]
    assert replays(whole) > 0


def test_a_snapshot_moves_between_cameras_of_full_length_and_growing_ones() -> None:
    whole, growing = session(STEADY["frames"]), session(STEADY["frames"])
    growing.model.records_frames = False
    images = small_frames(COUNT)
    for image in images[:12]:
        whole.push(image)
    growing.load_state_dict(whole.state_dict())
    assert growing.segment.memory.camera.frames(0).min() == 0
    for image in images[12:18]:
        assert_predictions_close(whole.push(image), growing.push(image))
    whole.load_state_dict(growing.state_dict())
    for image in images[18:]:
        assert_predictions_close(whole.push(image), growing.push(image))
    assert replays(whole) > 0


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

    monkeypatch.setattr(RECORDER, "record", fail)
    graph, eager = session(STEADY["frames"]), session(STEADY["frames"])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for image in small_frames(COUNT):
            assert_same(graph, eager, image)
    (warning,) = warned
    assert re.search("operation by operation.*not permitted", str(warning.message))
    assert replays(graph) == 0
