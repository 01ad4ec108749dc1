# SPDX-License-Identifier: Apache-2.0
"""The memory changes between two frames."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, StreamSession
from support.core_samples import (
    EVICTING,
    FULL,
    MEMORIES,
    SMALL,
    SMALLEST,
    TOKENS,
    WINDOW,
    assert_near,
    assert_same,
    push_all,
    small_frames,
)


def test_a_lower_budget_holds_from_the_next_frame_on(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, replace(EVICTING, total_budget=3 * SMALLEST))
    push_all(session, frames[:10])
    assert sum(session.stored_tokens) > 2 * SMALLEST
    session.configure(replace(EVICTING, total_budget=SMALLEST))
    session.push(frames[10])
    assert session.stored_tokens == [2 * TOKENS] * SMALL.depth


def test_a_higher_budget_fills_up_again(model: VGGT) -> None:
    frames = small_frames(40)
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:10])
    session.configure(replace(EVICTING, total_budget=3 * SMALLEST))
    push_all(session, frames[10:])
    assert 3 * SMALLEST - SMALL.depth < sum(session.stored_tokens) <= 3 * SMALLEST


def test_configuring_the_same_memory_changes_nothing(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, EVICTING)
    got = []
    for frame in frames:
        session.configure(replace(EVICTING))
        got.append(session.push(frame))
    assert_same(got, push_all(StreamSession(model, EVICTING), frames))


def test_configuring_before_the_first_frame_equals_a_session_made_so(
    model: VGGT, frames: Tensor
) -> None:
    session = StreamSession(model, FULL)
    session.configure(replace(EVICTING, camera_memory="shared"))
    want = push_all(StreamSession(model, replace(EVICTING, camera_memory="shared")), frames)
    assert_same(push_all(session, frames), want)


def test_policies_switch_in_mid_stream(model: VGGT) -> None:
    frames = small_frames(60)
    session = StreamSession(model, EVICTING)
    order = ["diversity", "window", "full", "diversity", "full", "window", "diversity"]
    for number, name in enumerate(order):
        session.configure(MEMORIES[name])
        predictions = push_all(session, frames[8 * number : 8 * number + 8])
        assert all(prediction.depth.isfinite().all() for prediction in predictions)
        assert all(0 <= score <= 1 for score in session.layer_similarity[0])
        if name == "diversity":
            assert sum(session.stored_tokens) <= EVICTING.total_budget
        if name == "window":
            assert session.stored_tokens == [(1 + WINDOW.window) * TOKENS] * SMALL.depth
            latest = session.frame_index - 1
            kept = {0, *range(latest - WINDOW.window + 1, latest + 1)}
            assert set(session.token_frames(0).unique().tolist()) == kept
        assert ((session.token_frames(2) == 0).sum(dim=-1) == TOKENS).all(), "anchors are whole"


def test_scores_measure_diversity_whatever_the_policies_before(model: VGGT) -> None:
    """Layers of unequal length go through a window that only some of them overflow."""
    frames = small_frames(30)
    session = StreamSession(model, replace(EVICTING, total_budget=SMALLEST + 60))
    push_all(session, frames[:10])
    before = session.layer_similarity[0]
    lengths = sorted(session.stored_tokens)
    window = next(
        w for w in range(1, 9) if lengths[0] + TOKENS <= (1 + w) * TOKENS < lengths[-1] + TOKENS
    )
    session.configure(MemoryConfig(policy="window", window=window))
    session.push(frames[10])
    assert session.layer_similarity[0] == before


def test_more_and_fewer_anchors_in_mid_stream(model: VGGT) -> None:
    frames = small_frames(40)
    memory = replace(EVICTING, total_budget=3 * SMALLEST)
    session = StreamSession(model, memory)
    push_all(session, frames[:10])
    anchors_held = (session.token_frames(1) < 3).sum(dim=-1)
    session.configure(replace(memory, anchor_frames=3))
    push_all(session, frames[10:20])
    assert torch.equal((session.token_frames(1) < 3).sum(dim=-1), anchors_held)
    session.configure(replace(memory, anchor_frames=0))
    push_all(session, frames[20:])
    assert sum(session.stored_tokens) <= memory.total_budget


def test_three_anchor_frames_stay_whole(model: VGGT, frames: Tensor) -> None:
    memory = replace(EVICTING, anchor_frames=3, total_budget=2 * SMALLEST)
    session = StreamSession(model, memory)
    push_all(session, frames)
    for layer in range(SMALL.depth):
        counts = [(session.token_frames(layer) == frame).sum(dim=-1) for frame in range(3)]
        assert (torch.stack(counts) == TOKENS).all()


@pytest.mark.parametrize(("dtype", "share"), [("bfloat16", 0.75), ("int8", 0.7)])
@pytest.mark.parametrize("name", MEMORIES)
def test_the_storage_precision_changes_in_mid_stream(
    model: VGGT, frames: Tensor, name: str, dtype: str, share: float
) -> None:
    memory = MEMORIES[name]
    session = StreamSession(model, memory)
    push_all(session, frames[:8])
    full_bytes = session.memory_bytes
    session.configure(replace(memory, dtype=dtype))
    assert session.memory_bytes < share * full_bytes
    halved = push_all(session, frames[8:12])
    session.configure(replace(memory, dtype="float32"))
    restored = push_all(session, frames[12:])
    want = push_all(StreamSession(model, memory), frames)
    for got, exact in zip([*halved, *restored], want[8:], strict=True):
        assert_near(got, exact)


@pytest.mark.parametrize("anchors", [0, 1, 3])
def test_a_budget_too_small_is_refused_and_the_one_it_names_works(
    model: VGGT, frames: Tensor, anchors: int
) -> None:
    smallest = (anchors + 1) * TOKENS * SMALL.depth
    memory = MemoryConfig(total_budget=smallest - 1, anchor_frames=anchors)
    session = StreamSession(model, memory)
    with pytest.raises(ValueError, match=rf"smallest that works is {smallest}\b"):
        session.push(frames[0])
    assert session.frame_index == 0
    session.configure(replace(memory, total_budget=smallest))
    for prediction in push_all(session, frames):
        assert prediction.depth.isfinite().all()
    assert session.stored_tokens == [(anchors + 1) * TOKENS] * SMALL.depth
    with pytest.raises(ValueError, match=rf"smallest that works is {smallest}\b"):
        session.configure(memory)
    assert session.memory.total_budget == smallest


def test_camera_memory_does_not_change_in_mid_stream(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:4])
    with pytest.raises(ValueError, match="camera_memory cannot change in mid-stream"):
        session.configure(replace(EVICTING, camera_memory="shared", total_budget=10**6))
    assert session.memory == EVICTING
    got = push_all(session, frames[4:])
    assert_same(got, push_all(StreamSession(model, EVICTING), frames)[4:])
