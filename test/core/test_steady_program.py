# SPDX-License-Identifier: Apache-2.0
"""Once a memory is full, a frame is the same sequence of operations as the one before: what a CUDA
graph captures of it holds for the next."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from infinitevggt_core import MemoryConfig, StreamSession
from infinitevggt_core.streaming import frame_graph
from support.core_samples import FRAMES, IMPORTANCE, WINDOW, small_frames, small_model
from support.program import Program, differences

FULL_AFTER = 14
"""Frames after which the memories are full; the camera head's is from the second frame on."""
MOVING_ANCHORS = "moving_anchors=2, anchor_every=3"
STEADY = {
    "frames": FRAMES,
    "importance": replace(IMPORTANCE, policy_options=MOVING_ANCHORS, camera_frames=40),
    "window": WINDOW,
}


@pytest.fixture
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams run as where graphs are recorded, but each operation by itself."""

    def refuse(work: object) -> None:
        raise RuntimeError("recording is off")

    monkeypatch.setitem(frame_graph.RECORDERS, "cpu", refuse)


@pytest.mark.filterwarnings("ignore:frames run operation by operation")
@pytest.mark.usefixtures("no_graphs")
@pytest.mark.parametrize("stored", ["auto", "int8"])
@pytest.mark.parametrize("name", STEADY)
def test_a_frame_is_the_same_program_as_the_one_before(name: str, stored: str) -> None:
    session = StreamSession(small_model(), replace(STEADY[name], dtype=stored))
    images = [image.clone() for image in small_frames(FULL_AFTER + 6)]
    for image in images[:FULL_AFTER]:
        session.push(image)
    programs = []
    for image in images[FULL_AFTER:]:
        with Program() as program:
            session.push(image)
        programs.append(program)
    for before, after in pairwise(programs):
        assert not differences(before, after)


def test_a_memory_that_is_not_full_is_noticed() -> None:
    session = StreamSession(small_model(), MemoryConfig(policy="full"))
    programs = []
    for image in small_frames(3):
        with Program() as program, torch.no_grad():
            session.push(image)
        programs.append(program)
    assert differences(programs[1], programs[2])
