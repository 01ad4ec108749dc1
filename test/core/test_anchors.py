# SPDX-License-Identifier: Apache-2.0
"""Anchors pinned and unpinned in a running stream, and re-anchoring."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, Prediction, StreamSession
from infinitevggt_core.model.geometry import encode_pose
from infinitevggt_core.streaming.reanchoring import Alignment
from support.core_samples import (
    EVICTING,
    FULL,
    HEIGHT,
    MEMORIES,
    SMALL,
    SMALLEST,
    TOKENS,
    WIDTH,
    assert_close,
    assert_predictions_close,
    assert_same,
    push_all,
    saved_and_read,
    small_frames,
    small_model,
)

ROOMY = replace(EVICTING, total_budget=3 * SMALLEST)


def held_of(session: StreamSession, frame: int, layer: int = 1) -> list[int]:
    """Return the number of tokens of a frame in each head of a layer."""
    counts: list[int] = (session.token_frames(layer) == frame).sum(dim=-1).tolist()
    return counts


@pytest.mark.parametrize("name", ["diversity", "window", "frames", "importance"])
def test_a_pinned_frame_stays_as_it_is(model: VGGT, name: str) -> None:
    memory = replace(MEMORIES[name], total_budget=4 * SMALLEST)
    frames, session = small_frames(40), StreamSession(model, memory)
    push_all(session, frames[:6])
    assert session.pin() == 5
    held = held_of(session, 5)
    assert min(held) > 0
    push_all(session, frames[6:25])
    assert held_of(session, 5) == held
    assert 5 in session.segment.memory.camera.frames(0).flatten().tolist()
    session.unpin(5)
    push_all(session, frames[25:])
    assert 5 not in session.segment.memory.streams[0].anchors
    if name != "frames":  # for which it may be worth keeping
        assert held_of(session, 5) != held
    assert held_of(session, 0) == [TOKENS] * SMALL.num_heads


def test_pinned_frames_take_their_room_from_the_others(model: VGGT) -> None:
    session = StreamSession(model, MemoryConfig(policy="window", window=3))
    for frame in small_frames(12):
        session.push(frame)
        if session.frame_index in (2, 4):
            session.pin()
    kept = [0, 1, 3, 9, 10, 11]
    assert session.token_frames(0).unique().tolist() == kept
    assert session.stored_tokens == [len(kept) * TOKENS] * SMALL.depth


def test_a_pin_without_room_is_refused_and_changes_nothing(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, replace(EVICTING, total_budget=SMALLEST + 40))
    push_all(session, frames[:4])
    with pytest.raises(ValueError, match=rf"2 anchor frame.*smallest that works is {3 * 44}\b"):
        session.pin()
    with pytest.raises(ValueError, match="frame 3 is not pinned"):
        session.unpin(3)
    want = StreamSession(model, session.memory)
    push_all(want, frames[:4])
    assert_same(push_all(session, frames[4:]), push_all(want, frames[4:]))
    with pytest.raises(ValueError, match="no frame yet"):
        StreamSession(model).pin()


def test_a_budget_without_room_for_the_pins_is_refused(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, ROOMY)
    push_all(session, frames[:4])
    session.pin()
    session.push(frames[4])
    session.pin()
    with pytest.raises(ValueError, match="3 anchor frame"):
        session.configure(EVICTING)
    session.unpin()
    session.configure(EVICTING)


def test_pins_are_in_the_snapshot(model: VGGT, frames: Tensor) -> None:
    session, resumed = StreamSession(model, ROOMY), StreamSession(model)
    push_all(session, frames[:5])
    session.pin()
    push_all(session, frames[5:9])
    resumed.load_state_dict(saved_and_read(session.state_dict()))
    assert_same(push_all(resumed, frames[9:]), push_all(session, frames[9:]))
    resumed.unpin(4)


def some_rotation(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return rotation * rotation.det().sign()


def seen(rotation: Tensor, translation: Tensor, depth: Tensor) -> Prediction:
    """Return a prediction with a given camera_from_world, and points unprojected from its depth."""
    intrinsics = torch.tensor([[30.0, 0, 21], [0, 30, 14], [0, 0, 1]], dtype=torch.float64)
    transform = torch.cat((rotation, translation[:, None]), dim=1)
    encoding = encode_pose(transform, intrinsics, HEIGHT, WIDTH)[None]
    confidence = 1 + torch.rand(1, HEIGHT, WIDTH)
    prediction = Prediction(encoding, depth[None], confidence)
    return replace(prediction, points=prediction.world_points(), points_confidence=confidence)


def test_alignment_brings_a_stream_into_the_world() -> None:
    """world = 2.5 * Q stream + p, chosen; the camera that both see has depths 2.5 times larger."""
    scale, rotation_to_world, shift = 2.5, some_rotation(1), torch.tensor([0.3, -2, 1]).double()
    depth = 1 + torch.rand(HEIGHT, WIDTH, dtype=torch.float64)
    rotation, translation = some_rotation(2), torch.tensor([0.1, 0.2, -0.3]).double()
    common = seen(rotation, translation, depth)
    # x = R X_s + t with X_s = Q' (X_w - p) / s, so s x = R Q' X_w + s t - R Q' p
    in_world = rotation @ rotation_to_world.T
    world = seen(in_world, scale * translation - in_world @ shift, scale * depth)
    outliers = torch.rand(HEIGHT, WIDTH) < 0.2
    spoiled = replace(world, depth=torch.where(outliers, 9.0, world.depth))
    alignment = Alignment.between(common, spoiled)

    later = seen(some_rotation(3), torch.tensor([1.0, 0, 2]).double(), depth)
    got = alignment.apply(later)
    want = scale * later.world_points() @ rotation_to_world.T + shift
    assert_close(got.world_points(), want, 1e-6, "unprojected depth")
    assert_close(got.points, want, 1e-6, "points")
    assert_close(alignment.apply(common).pose_encoding, world.pose_encoding, 1e-6, "pose")


@pytest.mark.parametrize("streams", [1, 2])
def test_a_stream_that_starts_again_goes_on_in_the_old_world(model: VGGT, streams: int) -> None:
    """The new stream is a session of its own, brought over by the frame that both saw."""
    images = torch.stack([small_frames(14, seed=seed) for seed in range(streams)], dim=1)
    session = StreamSession(model, FULL, points=True)
    push_all(session, images[:6])
    session.reanchor()
    got = push_all(session, images[6:])

    old, new = StreamSession(model, FULL, points=True), StreamSession(model, FULL, points=True)
    before = push_all(old, images[:7])[-1]
    after = push_all(new, images[6:])
    assert_same(got[:1], [before])
    alignment = Alignment.between(after[0], before)
    for one, other in zip(got[1:], after[1:], strict=True):
        assert_predictions_close(one, alignment.apply(other))
    at_the_change = alignment.apply(after[0])
    assert_close(at_the_change.camera_from_world, before.camera_from_world, 1e-4, "no jump")
    assert session.frame_index == 14
    assert session.stored_tokens == [8 * TOKENS] * SMALL.depth
    assert session.token_frames(0).unique().tolist() == list(range(6, 14))


def test_starting_again_twice_and_from_a_snapshot(model: VGGT) -> None:
    frames, session, resumed = (
        small_frames(24),
        StreamSession(model, EVICTING),
        StreamSession(model),
    )
    for index, frame in enumerate(frames[:14]):
        if index in (5, 11):
            session.reanchor()
        session.push(frame)
    session.reanchor()
    resumed.load_state_dict(saved_and_read(session.state_dict()))
    got, want = push_all(resumed, frames[14:]), push_all(session, frames[14:])
    assert_same(got, want)
    assert held_of(session, 14) == [TOKENS] * SMALL.num_heads, "the new first frame is the anchor"
    assert all(prediction.pose_encoding.isfinite().all() for prediction in want)
    session.reset()
    assert_same(push_all(session, frames), push_all(StreamSession(model, EVICTING), frames))


def test_starting_again_before_the_first_frame_is_nothing_special(
    model: VGGT, frames: Tensor
) -> None:
    session = StreamSession(model, EVICTING)
    session.reanchor()
    assert_same(push_all(session, frames), push_all(StreamSession(model, EVICTING), frames))


def test_a_failure_in_the_new_stream_interrupts_the_session(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:5])
    session.reanchor()
    forward, calls = model.depth_head.forward, []

    def fail_in_the_new_stream(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no memory")
        return forward(*args)

    monkeypatch.setattr(model.depth_head, "forward", fail_in_the_new_stream)
    with pytest.raises(torch.OutOfMemoryError):
        session.push(frames[5])
    with pytest.raises(RuntimeError, match="interrupted"):
        session.push(frames[6])
