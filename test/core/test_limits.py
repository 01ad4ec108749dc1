# SPDX-License-Identifier: Apache-2.0
"""A stream keeps to the memory and the time it is given, and survives a device without memory."""

import random
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, StreamSession
from infinitevggt_core.streaming.latency import SETTLE, LatencyController
from support.core_samples import (
    EVICTING,
    HEIGHT,
    MEMORIES,
    SMALL,
    SMALLEST,
    TOKENS,
    WIDTH,
    assert_same,
    push_all,
    small_frames,
    small_model,
)

MEGABYTE = 10**6


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("name", MEMORIES)
def test_a_limit_in_megabytes_holds(model: VGGT, name: str, streams: int, dtype: str) -> None:
    memory = replace(MEMORIES[name], limit_mb=1, total_budget=10**9, window=1000, dtype=dtype)
    memory = replace(memory, camera_frames=20)
    session = StreamSession(model, memory)
    image = torch.rand(streams, 3, HEIGHT, WIDTH)
    most = 0
    for _ in range(140):
        session.push(image)
        most = max(most, session.memory_bytes)
        assert session.memory_bytes <= MEGABYTE
    assert most > 0.8 * MEGABYTE, "what may be used is used"
    assert min(session.stored_tokens) >= 2 * TOKENS
    assert session.budget < 10**6, "what the limit leaves of it"


def test_a_limit_without_room_is_refused_and_the_one_it_names_works(model: VGGT) -> None:
    memory = MemoryConfig(limit_mb=1, anchor_frames=300, total_budget=10**9, camera_frames=1)
    session = StreamSession(model, memory)
    with pytest.raises(ValueError, match=r"the smallest that works is 5\b"):
        session.push(torch.rand(3, HEIGHT, WIDTH))
    session.configure(replace(memory, limit_mb=5))
    session.push(torch.rand(3, HEIGHT, WIDTH))
    with pytest.raises(ValueError, match=r"the smallest that works is 5\b"):
        session.configure(replace(memory, limit_mb=4))


class SmallDevice:
    """Runs out of memory whenever a stream holds more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.failures = limit, 0
        self.session: StreamSession | None = None

    def guard(self, forward: Callable[..., object]) -> Callable[..., object]:
        def guarded(*args: object, **options: object) -> object:
            if self.session is not None and self.session.memory_bytes > self.limit:
                self.failures += 1
                raise torch.OutOfMemoryError("tried to allocate 2 GiB")
            return forward(*args, **options)

        return guarded


@pytest.mark.parametrize("place", ["aggregator.global_blocks.2.mlp", "camera_head", "depth_head"])
@pytest.mark.parametrize("name", MEMORIES)
def test_out_of_memory_shrinks_the_stream_and_it_goes_on(
    name: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, device = small_model(), SmallDevice(limit=250_000)
    module = model.get_submodule(place)
    monkeypatch.setattr(module, "forward", device.guard(module.forward))
    memory = replace(MEMORIES[name], total_budget=20 * SMALLEST, policy_options="")
    memory = replace(memory, window=20 if name in ("window", "trajectory") else 2, camera_frames=3)
    session = device.session = StreamSession(model, memory)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for index, frame in enumerate(small_frames(60)):
            assert session.push(frame).depth.isfinite().all()
            assert session.frame_index == index + 1
    assert [str(warning.message).split(":")[0] for warning in said] == ["out of memory on cpu"]
    assert device.failures >= 1
    for layer in range(SMALL.depth):
        origin = session.token_frames(layer)
        assert ((origin == 0).sum(dim=-1) == TOKENS).all(), "the anchor is whole"
        for head in session.segment.memory.streams[0].get(layer)[0][0]:
            assert len(head.unique(dim=0)) == len(head), "a token was stored twice"
    assert (session.token_frames(0) == session.frame_index - 1).any()


def test_a_frame_that_failed_once_leaves_no_trace_but_the_budget(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies that evict after attention undo a frame exactly: the stream goes on as if the
    budget had been lowered before it."""
    model, memory = small_model(), MemoryConfig(policy="window", window=8)
    session, want = StreamSession(model, memory), StreamSession(model, memory)
    push_all(session, frames[:10])
    push_all(want, frames[:10])
    forward, failed = model.depth_head.forward, []

    def fail_once(*args: object) -> object:
        if not failed:
            failed.append(args)
            raise torch.OutOfMemoryError("no memory")
        return forward(*args)

    monkeypatch.setattr(model.depth_head, "forward", fail_once)
    # 9 frames of 11 tokens in 4 layers are held
    with pytest.warns(RuntimeWarning, match="keeps 297 tokens"):
        got = [session.push(frames[10])]
    want.segment.memory.shrink(0.75)
    assert_same([*got, *push_all(session, frames[11:])], push_all(want, frames[10:]))


def test_memory_that_is_never_enough_is_an_error_and_the_stream_lives(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:8])

    def fail(*_args: object, **_options: object) -> None:
        raise torch.OutOfMemoryError("no memory at all")

    forward = model.depth_head.forward
    monkeypatch.setattr(model.depth_head, "forward", fail)
    with pytest.raises(torch.OutOfMemoryError, match="no memory at all"):
        session.push(frames[8])
    monkeypatch.setattr(model.depth_head, "forward", forward)
    assert session.frame_index == 8
    for frame in frames[8:]:
        assert session.push(frame).depth.isfinite().all()


def simulate(
    fixed_ms: float, per_token_ms: float, controller: LatencyController, noise: float, frames: int
) -> list[float]:
    """Frame times of a stream that takes fixed + per token, and fills by 100 tokens a frame."""
    rng, held, times = random.Random(0), 0, []
    for _ in range(frames):
        held = min(held + 100, controller.budget)
        time_ms = (fixed_ms + per_token_ms * held) * (1 + noise * rng.uniform(-1, 1))
        time_ms *= 5 if rng.random() < 0.02 else 1  # the machine does something else
        controller.update(time_ms, held)
        times.append(time_ms)
    return times


@given(
    fixed_ms=st.floats(1, 40),
    per_token_ms=st.floats(1e-3, 0.1),
    noise=st.floats(0, 0.05),
    target_ms=st.floats(20, 200),
)
def test_the_controller_holds_the_target_or_its_bounds(
    fixed_ms: float, per_token_ms: float, noise: float, target_ms: float
) -> None:
    controller = LatencyController(target_ms, smallest=200, largest=20_000)
    times = simulate(fixed_ms, per_token_ms, controller, noise, frames=1500)
    settled = sorted(times[-300:])[150]
    best = fixed_ms + per_token_ms * 200
    worst = fixed_ms + per_token_ms * 20_000
    assert 200 <= controller.budget <= 20_000
    assert settled <= max(target_ms, best) * (1.06 + noise)
    assert settled >= min(target_ms, worst) * (0.85 - noise)


def test_the_controller_waits_for_a_memory_that_fills() -> None:
    """While little is held frames are fast, which says nothing about the budget."""
    controller = LatencyController(50, smallest=100, largest=10_000)
    for _ in range(10 * SETTLE):
        controller.update(200, held=5_000)
    low = controller.budget
    assert low == 100 or low < 1000
    for _ in range(10 * SETTLE):
        controller.update(5, held=low // 10)
    assert controller.budget == low


def test_a_session_keeps_its_pace(model: VGGT, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a clock: half a microsecond per token and half a millisecond per frame."""
    memory = replace(EVICTING, total_budget=40 * SMALLEST, target_ms=2.0)
    session = StreamSession(model, memory)
    readings = [0.0]

    def clock() -> float:
        readings.append(readings[-1] + 0.5e-3 + 0.5e-6 * sum(session.stored_tokens))
        return readings[-1]

    monkeypatch.setattr("infinitevggt_core.streaming.latency.time.perf_counter", clock)
    for frame in small_frames(120):
        session.push(frame)
    assert 2500 <= sum(session.stored_tokens) <= session.budget <= 3000  # 2 ms at 3000
    resumed = StreamSession(model)
    resumed.load_state_dict(session.state_dict())
    assert_same([resumed.push(frame)], [session.push(frame)])
    assert (resumed.stored_tokens, resumed.budget) == (session.stored_tokens, session.budget)
    session.configure(replace(memory, target_ms=0.0))
    assert session.budget == 40 * SMALLEST
    push_all(session, small_frames(60))
    assert sum(session.stored_tokens) > 3400
