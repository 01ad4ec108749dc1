# SPDX-License-Identifier: Apache-2.0
"""A frame as one CUDA graph; test/core/test_frame_graph.py proves its numbers."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from infinitevggt_core import MemoryConfig, StreamSession
from support.core_samples import (
    FRAMES,
    HEIGHT,
    IMPORTANCE,
    LINGBOT,
    SMALLEST,
    WIDTH,
    WINDOW,
    present,
    small_model,
)
from support.null_gpu import WORK, counted, is_null, waits
from support.program import Program, differences

STEADY = {
    "frames": FRAMES,
    "importance": replace(
        IMPORTANCE, policy_options="moving_anchors=2, anchor_every=3", camera_frames=40
    ),
    "window": WINDOW,
}
FULL_AFTER = 16
OUTSIDE = 8
"""Most operations of a frame outside of the graph: the image, the frame numbers, the outputs."""


def stream(memory: MemoryConfig, precision: torch.dtype, **options: Any) -> StreamSession:
    return StreamSession(small_model().to("cuda").cast(precision), memory, **options)


def push(session: StreamSession, count: int) -> None:
    for image in torch.rand(count, 3, HEIGHT, WIDTH):
        prediction = session.push(image)
        assert {x.device.type for x in present(prediction)} == {"cuda"}


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stored", ["auto", "int8"])
@pytest.mark.parametrize("name", STEADY)
def test_a_full_memory_is_recorded_and_replayed(
    name: str, stored: str, precision: torch.dtype
) -> None:
    session = stream(replace(STEADY[name], dtype=stored), precision)
    push(session, FULL_AFTER)
    graph = session.segment.graph
    assert graph.recordings == 1
    before, tokens = graph.replays, session.stored_tokens
    with waits() as found:
        push(session, 3)
    assert graph.replays == before + 3
    assert session.stored_tokens == tokens
    assert not found
    memory = session.memory
    larger = memory.total_budget + SMALLEST
    session.configure(replace(memory, window=3 + memory.window, total_budget=larger))
    push(session, FULL_AFTER)
    assert graph.recordings == 2


@pytest.mark.skipif(not is_null(), reason="counts the calls of the runtime")
def test_a_replayed_frame_is_one_launch_and_a_few_copies() -> None:
    session = stream(STEADY["frames"], torch.bfloat16)
    push(session, FULL_AFTER)
    with counted() as calls:
        push(session, 1)
    assert calls["replays"] == 1
    assert calls["capture_bad"] == 0
    assert 0 < sum(calls[kind] for kind in WORK) <= OUTSIDE


@pytest.mark.parametrize("name", STEADY)
def test_the_graph_is_the_frame(name: str) -> None:
    """The recorded operations are those of a frame that runs operation by operation."""
    session = stream(STEADY[name], torch.float32)
    images = [torch.rand(3, HEIGHT, WIDTH) for _ in range(FULL_AFTER + 2)]
    session.push(images[0])
    session.model.records_frames = False
    for image in images[1:-2]:
        session.push(image)
    programs = []
    for image in images[-2:]:
        with Program() as program:
            session.push(image)
        programs.append(program)
    eager, again = programs
    assert not differences(eager, again)
    session.model.records_frames = True
    session.push(images[0])
    with Program() as recorded:
        session.push(images[0])
    assert session.segment.graph.recordings == 1
    for program in (eager, recorded):
        # copies of the image and of the outputs are outside of the graph
        program.steps = [
            x for x in program.steps if not x[0].startswith(("session", "frame_graph"))
        ]
    assert not differences(eager, recorded)


def test_diversity_is_replayed_between_two_divisions_of_the_budget() -> None:
    options = "budget_step=4, budget_frames=40"
    memory = MemoryConfig(
        policy="diversity", total_budget=3 * SMALLEST, camera_frames=3, policy_options=options
    )
    session = stream(memory, torch.bfloat16)
    push(session, FULL_AFTER)
    graph = session.segment.graph
    assert graph.recordings == 1
    before = graph.replays
    with waits() as found:
        push(session, 3)
    assert graph.replays == before + 3
    assert not found
    session.configure(replace(memory, policy_options=""))
    push(session, 6)
    assert graph.replays == before + 3
    assert session.eager_because == "the policy changes its operations from frame to frame"


def test_lingbot_map_is_recorded_once() -> None:
    memory = MemoryConfig(policy="trajectory", window=2, trajectory_frames=3, start_frames=2)
    session = StreamSession(small_model(config=LINGBOT).to("cuda"), memory)
    push(session, FULL_AFTER + 3)
    assert session.segment.graph.recordings == 1
    assert session.segment.graph.replays > 6
