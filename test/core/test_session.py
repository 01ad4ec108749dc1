# SPDX-License-Identifier: Apache-2.0
"""A stream equals what it is defined to be, keeps to itself, survives errors, and can resume."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, Prediction, StreamSession
from support.core_samples import (
    EVICTING,
    FULL,
    HEIGHT,
    MEMORIES,
    SMALL,
    TOKENS,
    WIDTH,
    WINDOW,
    assert_near,
    assert_predictions_close,
    assert_same,
    clip_of,
    present,
    push_all,
    small_frames,
    small_model,
)


def test_streaming_everything_equals_the_causal_batch(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, FULL, points=True)
    streamed = clip_of(push_all(session, frames))
    with torch.no_grad():
        assert_predictions_close(streamed, model(frames[None], "causal"))
    assert session.stored_tokens == [len(frames) * TOKENS] * SMALL.depth


def test_an_unreached_budget_equals_streaming_everything(model: VGGT, frames: Tensor) -> None:
    everything = MemoryConfig(total_budget=10**9)
    got = push_all(StreamSession(model, everything), frames)
    assert_predictions_close(
        clip_of(got), clip_of(push_all(StreamSession(model, FULL), frames)), tolerance=0
    )


def test_the_defaults_stream_as_the_checkpoints_were_trained(model: VGGT, frames: Tensor) -> None:
    with torch.no_grad():
        batch = model(frames[None], "causal", points=False)
    assert_predictions_close(clip_of(push_all(StreamSession(model), frames)), batch)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_window_session_sees_one_frame_more_than_the_batch(
    model: VGGT, frames: Tensor, window: int
) -> None:
    """Frame i sees frame 0 and i - window .. i (docs/model.md, Window sessions)."""
    memory = MemoryConfig(policy="window", window=window)
    streamed = clip_of(push_all(StreamSession(model, memory, points=True), frames))
    with torch.no_grad():
        assert_predictions_close(streamed, model(frames[None], "window", window=window + 1))


@pytest.mark.parametrize("name", MEMORIES)
def test_reset_equals_a_new_session_bit_for_bit(model: VGGT, frames: Tensor, name: str) -> None:
    session = StreamSession(model, MEMORIES[name])
    push_all(session, small_frames(9, seed=5))
    session.reset()
    assert (session.frame_index, session.memory_bytes) == (0, 0)
    assert session.stored_tokens == [0] * SMALL.depth
    assert session.layer_similarity == []
    got = push_all(session, frames)
    assert_same(got, push_all(StreamSession(model, MEMORIES[name]), frames))


@pytest.mark.parametrize("mode", ["full", "causal", "window"])
def test_clips_in_a_batch_do_not_see_each_other(model: VGGT, frames: Tensor, mode: str) -> None:
    clips = torch.stack((frames[:7], small_frames(7, seed=3)))
    with torch.no_grad():
        together = model(clips, mode)
        alone = [model(clip[None], mode) for clip in clips]
    parts = zip(*map(present, alone), strict=True)
    assert_predictions_close(together, Prediction(*(torch.cat(fields) for fields in parts)))


def test_two_sessions_on_one_model_do_not_touch_each_other(model: VGGT, frames: Tensor) -> None:
    other_frames = small_frames(16, seed=1)
    one, other = StreamSession(model, EVICTING), StreamSession(model, WINDOW)
    interleaved = [(one.push(a), other.push(b)) for a, b in zip(frames, other_frames, strict=True)]
    assert_same([a for a, _ in interleaved], push_all(StreamSession(model, EVICTING), frames))
    assert_same([b for _, b in interleaved], push_all(StreamSession(model, WINDOW), other_frames))


@pytest.mark.parametrize("name", MEMORIES)
def test_streams_in_step_equal_streams_alone(model: VGGT, frames: Tensor, name: str) -> None:
    pair = torch.stack((frames, small_frames(len(frames), seed=7)), dim=1)  # (S, B, 3, H, W)
    together = StreamSession(model, MEMORIES[name])
    alone = [StreamSession(model, MEMORIES[name]) for _ in range(2)]
    for images in pair:
        got = together.push(images)
        want = [session.push(image) for session, image in zip(alone, images, strict=True)]
        assert_predictions_close(
            got,
            Prediction(*(torch.cat(fields) for fields in zip(*map(present, want), strict=True))),
        )
    for stream, session in enumerate(alone):
        for layer in range(SMALL.depth):
            got_frames = together.token_frames(layer, stream).sort(dim=-1).values
            assert torch.equal(got_frames, session.token_frames(layer).sort(dim=-1).values)
    if name == "diversity":
        assert together.layer_similarity[0] != together.layer_similarity[1]
        assert alone[0].stored_tokens != alone[1].stored_tokens, "both streams evict alike"


def attributes(model: VGGT) -> dict[str, dict[str, object]]:
    """Every attribute of every module, tensors by identity and version."""
    return {
        name: {
            key: (id(value), value._version) if isinstance(value, Tensor) else repr(value)
            for key, value in {**vars(module), **module._parameters, **module._buffers}.items()
            if key not in ("_modules", "_parameters", "_buffers")
        }
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize("name", MEMORIES)
def test_modules_hold_no_state_of_a_stream(frames: Tensor, name: str) -> None:
    model = small_model()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    before = attributes(model)
    push_all(StreamSession(model, MEMORIES[name], points=True), frames)
    assert attributes(model) == before
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("cast", [VGGT.cast, VGGT.to])
def test_bf16_stays_close_to_fp32(
    model: VGGT, frames: Tensor, cast: Callable[[VGGT, torch.dtype], VGGT]
) -> None:
    half = cast(small_model(), torch.bfloat16)
    assert half.dtype == torch.bfloat16
    session = StreamSession(half, FULL, points=True)
    exact = StreamSession(model, FULL, points=True)
    for frame in frames:
        got = session.push(frame)
        assert all(value.dtype == torch.float32 for value in present(got))
        assert_near(got, exact.push(frame))
    assert session.memory_bytes < exact.memory_bytes
    assert half(frames[None, :3], "causal").depth.isfinite().all()


def test_cast_keeps_the_camera_head_in_fp32() -> None:
    half = small_model().cast(torch.bfloat16)
    assert half.camera_head.embed_pose.weight.dtype == torch.float32


@pytest.mark.parametrize("name", MEMORIES)
def test_bf16_streams_evict_too(frames: Tensor, name: str) -> None:
    session = StreamSession(small_model().cast(torch.bfloat16), MEMORIES[name])
    assert all(prediction.depth.isfinite().all() for prediction in push_all(session, frames))
    assert all(0 <= score <= 1 for score in session.layer_similarity[0])


def test_frames_of_inference_mode_and_of_others_mix(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, EVICTING)
    got = []
    for index, frame in enumerate(frames):
        with torch.inference_mode(index % 3 != 1):
            got.append(session.push(frame))
    assert_same(got, push_all(StreamSession(model, EVICTING), frames))


def test_the_batch_forward_can_be_trained_even_after_inference_mode() -> None:
    model = small_model().requires_grad_(True)
    size = (56, 28)  # one that no other test has used: position tables are cached per size
    images = torch.rand(1, 3, 3, *size)
    with torch.inference_mode():
        StreamSession(model, FULL, points=True).push(images[0, 0])
    for mode in ("full", "causal", "window"):
        model.zero_grad()
        prediction = model(images, mode)
        total = sum(value.square().mean() for value in present(prediction))
        total.backward()
        without = [
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is None or not parameter.grad.isfinite().all()
        ]
        assert without == []


def test_pushing_builds_no_graph(frames: Tensor) -> None:
    model = small_model().requires_grad_(True)
    session = StreamSession(model, EVICTING)
    assert not any(value.requires_grad for value in present(session.push(frames[0])))


def test_points_are_none_unless_asked_for(model: VGGT, frames: Tensor) -> None:
    assert StreamSession(model).push(frames[0]).points is None
    assert StreamSession(model, points=True).push(frames[0]).points.shape == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("images", "options", "said"),
    [
        (torch.rand(3, HEIGHT, WIDTH), {}, "expected float images"),
        (torch.rand(1, 0, 3, HEIGHT, WIDTH), {}, "expected float images"),
        (torch.rand(1, 2, 3, HEIGHT, WIDTH + 2), {}, "multiples of 14"),
        (torch.rand(1, 2, 3, HEIGHT, WIDTH), {"attention": "sparse"}, "one of full, causal"),
        (torch.rand(1, 2, 3, HEIGHT, WIDTH), {"attention": "window", "window": 0}, "window"),
        (torch.rand(1, 2, 3, HEIGHT, WIDTH), {"query_points": torch.zeros(1, 2)}, "track=True"),
    ],
)
def test_a_clip_that_cannot_be_is_refused(
    model: VGGT, images: Tensor, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        model(images, **options)
