"""A stream equals what it is defined to be, keeps to itself, survives errors, and can resume."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from core_samples import (
    EVICTING,
    FULL,
    HEIGHT,
    MEMORIES,
    SMALL,
    SMALLEST,
    TOKENS,
    WIDTH,
    WINDOW,
    assert_predictions_close,
    assert_same,
    clip_of,
    push_all,
    saved_and_read,
    small_frames,
    small_model,
)
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, Prediction, StreamSession

BF16_SHARE = 0.1
"""How far bf16 may be off fp32, in root mean squares of the fp32 values."""


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
    """Frame i sees frame 0 and i - window .. i (model_spec.md section 9, the cache form)."""
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
    assert session.layer_scores == []
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


def test_images_of_any_precision_and_layout_are_taken(model: VGGT, frames: Tensor) -> None:
    image = frames[0].bfloat16()
    want = StreamSession(model).push(image.float())
    channels_last = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for same in (image, image.double(), image.half(), channels_last):
        assert_same([StreamSession(model).push(same)], [want])


def test_reset_takes_another_image_size_and_number_of_streams(model: VGGT) -> None:
    session = StreamSession(model, WINDOW)
    session.push(torch.rand(3, HEIGHT, WIDTH))
    session.reset()
    assert session.push(torch.rand(2, 3, WIDTH, HEIGHT)).depth.shape == (2, WIDTH, HEIGHT)


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
        assert together.layer_scores[0] != together.layer_scores[1]
        assert alone[0].stored_tokens != alone[1].stored_tokens, "both streams forget alike"


def present(prediction: Prediction) -> list[Tensor]:
    values = (getattr(prediction, name) for name in Prediction.__slots__)
    return [value for value in values if value is not None]


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
    assert resumed.layer_scores == session.layer_scores


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
    state["held"]["streams"][0]["store"]["lengths"].pop()


def break_tokens(state: dict[str, Any]) -> None:
    stored = state["held"]["streams"][0]["store"]["stored"]
    stored[0] = stored[0][:, :, 3:]


def break_streams(state: dict[str, Any]) -> None:
    state["held"]["streams"] *= 2


def break_settings(state: dict[str, Any]) -> None:
    state["memory"]["total_budget"] = 5


def break_keys(state: dict[str, Any]) -> None:
    del state["held"]["camera"]


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
    assert resumed._held.streams[0].recall(0)[0].dtype == torch.bfloat16
    half = StreamSession(small_model().cast(torch.bfloat16), MEMORIES[name])
    push_all(half, frames[:8])
    assert resumed.memory_bytes == half.memory_bytes
    for frame in frames[8:]:
        assert_near(resumed.push(frame), exact.push(frame))


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
    for turn, name in enumerate(order):
        session.configure(MEMORIES[name])
        predictions = push_all(session, frames[8 * turn : 8 * turn + 8])
        assert all(prediction.depth.isfinite().all() for prediction in predictions)
        assert all(0 <= score <= 1 for score in session.layer_scores[0])
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
    before = session.layer_scores[0]
    lengths = sorted(session.stored_tokens)
    window = next(
        w for w in range(1, 9) if lengths[0] + TOKENS <= (1 + w) * TOKENS < lengths[-1] + TOKENS
    )
    session.configure(MemoryConfig(policy="window", window=window))
    session.push(frames[10])
    assert session.layer_scores[0] == before


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


def assert_near(got: Prediction, exact: Prediction) -> None:
    """Within BF16_SHARE in the root mean square, field by field."""
    for one, other in zip(present(got), present(exact), strict=True):
        off = (one.float() - other).square().mean().sqrt() / other.square().mean().sqrt()
        assert off <= BF16_SHARE, f"off by {off:.3g} of the root mean square"


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


NAN = torch.full((3, HEIGHT, WIDTH), 0.5)
NAN[1, 2, 3] = torch.nan
WRONG_IMAGES = {
    "another size": torch.rand(3, WIDTH, HEIGHT),
    "not a multiple of the patch": torch.rand(3, HEIGHT, WIDTH + 1),
    "smaller than a patch": torch.rand(3, 0, WIDTH),
    "four channels": torch.rand(4, HEIGHT, WIDTH),
    "more streams": torch.rand(2, 3, HEIGHT, WIDTH),
    "no stream": torch.rand(0, 3, HEIGHT, WIDTH),
    "a clip": torch.rand(1, 1, 3, HEIGHT, WIDTH),
    "no channels": torch.rand(HEIGHT, WIDTH),
    "bytes": torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8),
    "not a number": NAN,
    "infinite": torch.full((3, HEIGHT, WIDTH), torch.inf),
}


FIT_A_NEW_STREAM = ("another size", "more streams")


@pytest.mark.parametrize(
    ("name", "pushed"),
    [(name, 4) for name in WRONG_IMAGES]
    + [(name, 0) for name in WRONG_IMAGES if name not in FIT_A_NEW_STREAM],
)
def test_a_wrong_image_leaves_the_stream_as_it_was(
    model: VGGT, frames: Tensor, name: str, pushed: int
) -> None:
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:pushed])
    with pytest.raises(ValueError, match="image"):
        session.push(WRONG_IMAGES[name])
    assert session.frame_index == pushed
    got = push_all(session, frames[pushed:])
    assert_same(got, push_all(StreamSession(model, EVICTING), frames)[pushed:])


@pytest.mark.parametrize("part", ["aggregator", "camera_head", "depth_head"])
@pytest.mark.parametrize("pushed", [0, 4])
def test_an_interrupted_push_refuses_until_reset(
    frames: Tensor, part: str, pushed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:pushed])

    def fail(*_args: object, **_options: object) -> None:
        raise MemoryError("no memory for the map")

    with monkeypatch.context() as patch:
        patch.setattr(getattr(model, part), "forward", fail)
        with pytest.raises(MemoryError):
            session.push(frames[pushed])
    with pytest.raises(RuntimeError, match="interrupted"):
        session.push(frames[pushed])
    with pytest.raises(RuntimeError, match="interrupted"):
        session.state_dict()
    session.reset()
    assert_same(push_all(session, frames), push_all(StreamSession(model, EVICTING), frames))


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
def test_bf16_streams_forget_too(frames: Tensor, name: str) -> None:
    session = StreamSession(small_model().cast(torch.bfloat16), MEMORIES[name])
    assert all(prediction.depth.isfinite().all() for prediction in push_all(session, frames))
    assert all(0 <= score <= 1 for score in session.layer_scores[0])


def test_frames_of_inference_mode_and_of_others_mix(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, EVICTING)
    got = []
    for index, frame in enumerate(frames):
        with torch.inference_mode(index % 3 != 1):
            got.append(session.push(frame))
    assert_same(got, push_all(StreamSession(model, EVICTING), frames))


def test_a_snapshot_read_in_inference_mode_goes_on_outside(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:8])
    resumed = StreamSession(model)
    with torch.inference_mode():
        resumed.load_state_dict(session.state_dict())
    assert_same(push_all(resumed, frames[8:]), push_all(session, frames[8:]))


def test_the_batch_forward_can_be_trained_even_after_inference_mode() -> None:
    model = small_model().requires_grad_(True)
    size = (56, 28)  # one that no other test has used: position tables are remembered per size
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


def test_a_first_image_that_was_refused_fixes_nothing(model: VGGT) -> None:
    session = StreamSession(model, MemoryConfig(total_budget=SMALLEST))
    with pytest.raises(ValueError, match="smallest that works"):
        session.push(torch.rand(3, 2 * HEIGHT, 2 * WIDTH))
    session.configure(session.memory)
    assert session.push(torch.rand(2, 3, HEIGHT, WIDTH)).depth.shape == (2, HEIGHT, WIDTH)
