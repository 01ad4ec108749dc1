# SPDX-License-Identifier: Apache-2.0
"""A stream is saved and gone on with: snapshots of sessions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT, StreamSession
from support.core_samples import (
    EVICTING,
    MEMORIES,
    SMALL,
    WINDOW,
    assert_near,
    assert_same,
    push_all,
    saved_and_read,
    small_frames,
    small_model,
)


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("stop", [0, 1, 8])
def test_a_resumed_stream_equals_one_that_never_stopped(
    model: VGGT, name: str, stop: int, streams: int
) -> None:
    images = torch.stack([small_frames(16, seed=seed) for seed in range(streams)], dim=1)
    session = StreamSession(model, MEMORIES[name])
    push_all(session, images[:stop])
    snapshot = saved_and_read(session.state_dict())
    resumed = StreamSession(model)
    resumed.load_state_dict(snapshot)
    assert (resumed.frame_index, resumed.memory) == (stop, MEMORIES[name])
    assert resumed.memory_bytes == session.memory_bytes
    assert_same(push_all(resumed, images[stop:]), push_all(session, images[stop:]))
    assert resumed.stored_tokens == session.stored_tokens
    assert resumed.layer_similarity == session.layer_similarity


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_a_stream_stored_in_fewer_bits_resumes_too(model: VGGT, frames: Tensor, dtype: str) -> None:
    session = StreamSession(model, replace(EVICTING, dtype=dtype))
    push_all(session, frames[:8])
    resumed = StreamSession(model)
    resumed.load_state_dict(saved_and_read(session.state_dict()))
    assert_same(push_all(resumed, frames[8:]), push_all(session, frames[8:]))


def test_a_snapshot_does_not_change_with_its_stream(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:8])
    snapshot = session.state_dict()
    saved = saved_and_read(snapshot)
    want = push_all(session, frames[8:])
    for state in (snapshot, saved):
        resumed = StreamSession(model)
        resumed.load_state_dict(state)
        assert_same(push_all(resumed, frames[8:]), want)


@pytest.mark.parametrize(
    "change", [{"depth": 5}, {"num_heads": 4}, {"camera_trunk_depth": 2}, {"embed_dim": 64}]
)
def test_a_snapshot_of_another_network_is_refused(
    model: VGGT, frames: Tensor, change: dict[str, int]
) -> None:
    other = StreamSession(small_model(config=replace(SMALL, **change)), EVICTING)
    other.configure(replace(EVICTING, total_budget=10**6))
    push_all(other, frames[:3])
    session = StreamSession(model, WINDOW)
    push_all(session, frames[:3])
    with pytest.raises(ValueError, match="snapshot is of another network"):
        session.load_state_dict(other.state_dict())
    assert session.memory == WINDOW
    untouched = StreamSession(model, WINDOW)
    push_all(untouched, frames[:3])
    assert_same(push_all(session, frames[3:]), push_all(untouched, frames[3:]))


def break_layers(state: dict[str, Any]) -> None:
    state["segment"]["memory"]["streams"][0]["store"]["lengths"].pop()


def break_tokens(state: dict[str, Any]) -> None:
    stored = state["segment"]["memory"]["streams"][0]["store"]["stored"]
    stored[0] = stored[0][:, :, 3:]


def break_streams(state: dict[str, Any]) -> None:
    state["segment"]["memory"]["streams"] *= 2


def break_settings(state: dict[str, Any]) -> None:
    state["memory"]["total_budget"] = 5


def break_keys(state: dict[str, Any]) -> None:
    del state["segment"]["memory"]["camera"]


@pytest.mark.parametrize(
    "spoil", [break_layers, break_tokens, break_streams, break_settings, break_keys]
)
def test_a_snapshot_that_does_not_fit_leaves_the_stream_as_it_was(
    model: VGGT, frames: Tensor, spoil: Callable[[dict[str, Any]], None]
) -> None:
    other = StreamSession(model, EVICTING)
    push_all(other, frames[:8])
    state = saved_and_read(other.state_dict())
    spoil(state)
    session = StreamSession(model, WINDOW)
    push_all(session, frames[:8])
    with pytest.raises(ValueError, match=r"snapshot|budget|longer|layers"):
        session.load_state_dict(state)
    assert session.memory == WINDOW
    got = push_all(session, frames[8:])
    assert_same(got, push_all(StreamSession(model, WINDOW), frames)[8:])


@pytest.mark.parametrize("name", MEMORIES)
def test_a_snapshot_is_converted_to_the_precision_of_the_session(
    model: VGGT, frames: Tensor, name: str
) -> None:
    exact = StreamSession(model, MEMORIES[name])
    push_all(exact, frames[:8])
    resumed = StreamSession(small_model().cast(torch.bfloat16))
    resumed.load_state_dict(saved_and_read(exact.state_dict()))
    assert resumed.segment.memory.streams[0].get(0)[0].dtype == torch.bfloat16
    half = StreamSession(small_model().cast(torch.bfloat16), MEMORIES[name])
    push_all(half, frames[:8])
    assert resumed.memory_bytes == half.memory_bytes
    for frame in frames[8:]:
        assert_near(resumed.push(frame), exact.push(frame))


def test_a_snapshot_read_in_inference_mode_goes_on_outside(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:8])
    resumed = StreamSession(model)
    with torch.inference_mode():
        resumed.load_state_dict(session.state_dict())
    assert_same(push_all(resumed, frames[8:]), push_all(session, frames[8:]))
