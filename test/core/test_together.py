# SPDX-License-Identifier: Apache-2.0
"""Several sessions in one forward: each as if it were alone."""

import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT, StreamSession, push_together
from support.core_samples import (
    EVICTING,
    FULL,
    MEMORIES,
    SMALL,
    assert_predictions_close,
    push_all,
    small_frames,
    small_model,
)


@pytest.fixture
def forwards(model: VGGT, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch of each forward of the network."""
    batches: list[int] = []
    forward = model.aggregator.forward

    def counted(images: Tensor, *args: object, **options: object) -> object:
        batches.append(len(images))
        return forward(images, *args, **options)

    monkeypatch.setattr(model.aggregator, "forward", counted)
    return batches


@pytest.mark.parametrize("name", MEMORIES)
def test_sessions_together_equal_sessions_alone_whatever_they_miss(
    model: VGGT, frames: Tensor, name: str, forwards: list[int]
) -> None:
    """The second session begins later and is reset; the third has two streams."""
    memories = MEMORIES[name], EVICTING, MEMORIES[name]
    together = [StreamSession(model, memory) for memory in memories]
    alone = [StreamSession(model, memory) for memory in memories]
    for number, frame in enumerate(frames):
        if number == 9:
            together[1].reset()
            alone[1].reset()
        images = [frame, small_frames(16, seed=7)[number], torch.stack((frame, frame.flip(0)))]
        members = [0, 2] if number in (0, 1, 5) else [0, 1, 2]
        got = push_together([together[i] for i in members], [images[i] for i in members])
        for i, prediction in zip(members, got, strict=True):
            assert_predictions_close(prediction, alone[i].push(images[i]))
    assert set(forwards) >= {3, 4}
    for one, other in zip(together, alone, strict=True):
        assert one.frame_index == other.frame_index
        for layer in range(SMALL.depth):
            got_frames = one.token_frames(layer).sort(dim=-1).values
            assert torch.equal(got_frames, other.token_frames(layer).sort(dim=-1).values)


def test_images_of_other_shapes_are_computed_apart(
    model: VGGT, frames: Tensor, forwards: list[int]
) -> None:
    sessions, wide = [StreamSession(model) for _ in range(3)], frames[..., :28]
    for number in range(3):
        push_together(sessions, [frames[number], wide[number], frames[number + 1]])
    assert forwards == [2, 1] * 3
    assert [session.image_shape[-1] for session in sessions] == [42, 28, 42]


def test_a_refused_image_leaves_every_stream_as_it_was(model: VGGT, frames: Tensor) -> None:
    sessions = [StreamSession(model, EVICTING) for _ in range(2)]
    for frame in frames[:4]:
        push_together(sessions, [frame, frame])
    with pytest.raises(ValueError, match="not finite"):
        push_together(sessions, [frames[4], torch.full_like(frames[4], torch.nan)])
    for session in sessions:
        alone = StreamSession(model, EVICTING)
        push_all(alone, frames[:4])
        assert session.frame_index == 4
        assert_predictions_close(session.push(frames[4]), alone.push(frames[4]))


def test_where_there_is_no_memory_for_all_at_once_each_has_its_turn(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    sessions = [StreamSession(model, FULL) for _ in range(2)]
    forward = model.depth_head.forward

    def small_only(levels: dict[int, Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        if len(next(iter(levels.values()))) > 1:
            raise torch.OutOfMemoryError("too many at once")
        return forward(levels, size)

    monkeypatch.setattr(model.depth_head, "forward", small_only)
    got = [push_together(sessions, [frame, frame.flip(0)]) for frame in frames]
    alone = push_all(StreamSession(model, FULL), frames)
    for (first, _), want in zip(got, alone, strict=True):
        assert_predictions_close(first, want)
    assert sessions[0].stored_tokens == sessions[1].stored_tokens
    assert not any(session.is_interrupted for session in sessions)


def test_a_stream_that_cannot_begin_leaves_the_others_as_they_were(
    model: VGGT, frames: Tensor
) -> None:
    """Its images are larger than its budget allows, which shows when its memory is opened."""
    going, beginning = StreamSession(model, EVICTING), StreamSession(model, EVICTING)
    alone = StreamSession(model, EVICTING)
    push_all(going, frames[:3])
    push_all(alone, frames[:3])
    large = frames[3].repeat(1, 4, 4)
    with pytest.raises(ValueError, match="budget"):
        push_together([going, beginning], [frames[3], large])
    assert (going.frame_index, beginning.frame_index) == (3, 0)
    assert_predictions_close(going.push(frames[3]), alone.push(frames[3]))
    assert_predictions_close(beginning.push(frames[0]), StreamSession(model).push(frames[0]))


def test_a_forward_that_breaks_costs_no_stream_its_world(
    model: VGGT, frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two that go on are done when the one that begins breaks off."""
    sessions = [StreamSession(model, FULL) for _ in range(3)]
    alone = StreamSession(model, FULL)
    for session in (*sessions[:2], alone):
        push_all(session, frames[:3])
    forward = model.camera_head.forward

    def broken(tokens: Tensor, attend: object) -> object:
        if len(tokens) == 1:
            raise KeyError("nobody foresaw this")
        return forward(tokens, attend)

    with monkeypatch.context() as patch:
        patch.setattr(model.camera_head, "forward", broken)
        with pytest.raises(KeyError, match="nobody foresaw this"):
            push_together(sessions, [frames[3]] * 3)
    assert [session.frame_index for session in sessions] == [3, 3, 0]
    want = alone.push(frames[3])
    for session in sessions[:2]:
        assert_predictions_close(session.push(frames[3]), want)
    sessions[2].push(frames[3][..., :28])
