# SPDX-License-Identifier: Apache-2.0
"""Streams of LingBot-Map under every policy: starts, keyframes, temporal indices, snapshots."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from infinitevggt_core import (
    VGGT,
    CheckpointError,
    MemoryConfig,
    ModelConfig,
    Prediction,
    StreamSession,
    load_checkpoint,
    push_together,
)
from support.core_samples import (
    HEIGHT,
    LINGBOT,
    WIDTH,
    assert_near,
    assert_predictions_close,
    assert_same,
    clip_of,
    present,
    push_all,
    same_state,
    saved_and_read,
    small_frames,
    small_model,
)
from support.real_photos import REAL, needs_photos

TOKENS = 6 + 2 * 3
"""Tokens of a HEIGHT x WIDTH frame."""
SPECIALS = 6
FRAME = LINGBOT.depth * TOKENS
BUDGETED = MemoryConfig(total_budget=5 * FRAME + 7, camera_frames=3, window=2)
MEMORIES = {
    "trajectory": MemoryConfig(policy="trajectory", window=2, trajectory_frames=3),
    "trajectory, as published": MemoryConfig(policy="trajectory", window=2, trajectory_frames=0),
    "frames": BUDGETED,
    "diversity": replace(BUDGETED, policy="diversity"),
    "window": MemoryConfig(policy="window", window=2),
    "importance": replace(BUDGETED, policy="importance", policy_options="moving_anchors=1"),
    "full": MemoryConfig(policy="full"),
}
START = 3


@pytest.fixture(scope="module")
def lingbot() -> VGGT:
    """A small network that tests share; none may change it."""
    return small_model(config=LINGBOT)


def memory_of(name: str, **changes: int) -> MemoryConfig:
    return replace(MEMORIES[name], **{"start_frames": START, **changes})


def test_the_network_starts_streams_as_it_was_trained(lingbot: VGGT, model: VGGT) -> None:
    session = StreamSession(lingbot, MEMORIES["full"])
    for k, frame in enumerate(small_frames(10)):
        clip = session.begin(frame)
        assert clip.shape[1] == (k + 1 if k < 8 else 1)
        session.complete(session.segment.decode(clip, points=False))
    assert StreamSession(model, MEMORIES["full"]).begin(small_frames(1)[0]).shape[1] == 1


def test_frames_that_start_together_equal_the_full_batch(lingbot: VGGT) -> None:
    """Each answer of the start is the last of a batch of all frames up to it."""
    frames = small_frames(6)
    session = StreamSession(lingbot, memory_of("full", start_frames=6))
    for k, frame in enumerate(frames, start=1):
        with torch.no_grad():
            batch = lingbot(frames[None, :k], "full")
        assert_predictions_close(session.push(frame), batch.frame(-1))
    assert session.stored_tokens == [6 * TOKENS] * LINGBOT.depth


def test_a_plain_stream_equals_the_causal_batch(lingbot: VGGT) -> None:
    frames = small_frames(9)
    session = StreamSession(lingbot, memory_of("full", start_frames=1))
    with torch.no_grad():
        assert_predictions_close(
            clip_of(push_all(session, frames)), lingbot(frames[None], "causal")
        )


def test_other_networks_can_start_together_too(model: VGGT) -> None:
    frames = small_frames(4)
    session = StreamSession(model, memory_of("full"))
    predictions = push_all(session, frames)
    with torch.no_grad():
        want = model(frames[None, :START], "full", points=False)
    assert_predictions_close(predictions[START - 1], want.frame(-1))


def test_the_trajectory_keeps_special_tokens_of_the_frames_before_the_window(
    lingbot: VGGT,
) -> None:
    session = StreamSession(lingbot, memory_of("trajectory"))
    for index, frame in enumerate(small_frames(16)):
        session.push(frame)
        window = range(max(START, index - 1), index + 1)
        trajectory = range(max(START, index - 4), max(START, index - 1))
        want = dict.fromkeys([*range(min(START, index + 1)), *window], TOKENS)
        want |= dict.fromkeys(trajectory, SPECIALS)
        for layer in range(LINGBOT.depth):
            for head in session.token_frames(layer):
                frames, counts = head.unique(return_counts=True)
                assert dict(zip(frames.tolist(), counts.tolist(), strict=True)) == want


def test_a_longer_trajectory_is_kept_from_the_next_frame_on(lingbot: VGGT) -> None:
    session = StreamSession(lingbot, memory_of("trajectory"))
    push_all(session, small_frames(12))
    session.configure(memory_of("trajectory", trajectory_frames=5))
    push_all(session, small_frames(6))
    assert session.stored_tokens == [(START + 2) * TOKENS + 5 * SPECIALS] * LINGBOT.depth
    session.configure(memory_of("trajectory", trajectory_frames=1, window=1))
    session.push(small_frames(1)[0])
    assert session.stored_tokens == [(START + 1) * TOKENS + SPECIALS] * LINGBOT.depth


@pytest.mark.parametrize("megabytes", [1, 2])
def test_a_limit_in_megabytes_shrinks_the_window(lingbot: VGGT, megabytes: int) -> None:
    memory = memory_of("trajectory, as published", limit_mb=megabytes, window=200, camera_frames=8)
    session = StreamSession(lingbot, memory)
    for frame in small_frames(10).repeat(12, 1, 1, 1):
        session.push(frame)
        assert session.memory_bytes <= megabytes * 10**6
    latest = session.token_frames(0)[0] == session.frame_index - 1
    assert latest.sum() == TOKENS, "the latest frame is whole"


@pytest.mark.parametrize("name", MEMORIES)
def test_a_frame_between_keyframes_leaves_nothing(lingbot: VGGT, name: str) -> None:
    session = StreamSession(lingbot, memory_of(name, keyframe_interval=3))
    for index, frame in enumerate(small_frames(20)):
        before = session.stored_tokens, session.segment.memory.camera.lengths if index else []
        session.push(frame)
        is_keyframe = index < START or (index - START) % 3 == 0
        assert session.segment.latest_is_stored == is_keyframe
        if not is_keyframe:
            assert (session.stored_tokens, session.segment.memory.camera.lengths) == before
    assert session.segment.memory.stored_frames == START + 6


@pytest.mark.parametrize("name", MEMORIES)
def test_reset_equals_a_new_session_bit_for_bit(lingbot: VGGT, name: str) -> None:
    frames, memory = small_frames(10), memory_of(name)
    session = StreamSession(lingbot, memory)
    push_all(session, small_frames(7, seed=4))
    session.reset()
    assert_same(push_all(session, frames), push_all(StreamSession(lingbot, memory), frames))


@pytest.mark.parametrize("name", MEMORIES)
def test_a_stream_resumes_at_any_frame(lingbot: VGGT, name: str) -> None:
    """Resume during the start, between keyframes and in an overlap, bit for bit."""
    frames, session = small_frames(16), StreamSession(lingbot, memory_of(name, keyframe_interval=2))
    snapshots, got = [], []
    for index, frame in enumerate(frames):
        if index == 7:
            session.reanchor(overlap=4)
        snapshots.append(saved_and_read(session.state_dict()))
        got.append(session.push(frame))
    for index, snapshot in enumerate(snapshots):
        resumed = StreamSession(lingbot)
        resumed.load_state_dict(snapshot)
        assert_same(push_all(resumed, frames[index : index + 3]), got[index : index + 3])


@pytest.mark.parametrize("name", MEMORIES)
def test_streams_in_step_equal_streams_alone(lingbot: VGGT, name: str) -> None:
    pair = torch.stack((small_frames(9), small_frames(9, seed=7)), dim=1)
    memory = memory_of(name, keyframe_interval=2)
    together = StreamSession(lingbot, memory)
    alone = [StreamSession(lingbot, memory) for _ in range(2)]
    for images in pair:
        got = together.push(images)
        want = [session.push(image) for session, image in zip(alone, images, strict=True)]
        both = zip(*map(present, want), strict=True)
        assert_predictions_close(got, Prediction(*map(torch.cat, both)))


@pytest.mark.parametrize("name", MEMORIES)
def test_sessions_together_equal_sessions_alone_wherever_they_are(lingbot: VGGT, name: str) -> None:
    """Begin the sessions at different times, so that starts and temporal indices differ."""
    memory = memory_of(name, keyframe_interval=2)
    together, alone = ([StreamSession(lingbot, memory) for _ in range(3)] for _ in range(2))
    frames = small_frames(14)
    for index, frame in enumerate(frames):
        members = [i for i in range(3) if index >= 2 * i]
        if index == 8:
            for session in (together[0], alone[0]):
                session.reanchor(overlap=2)
        images = [frame.roll(i, dims=-1) for i in members]
        got = push_together([together[i] for i in members], images)
        for i, image, prediction in zip(members, images, got, strict=True):
            assert_predictions_close(prediction, alone[i].push(image), tolerance=1e-4)
    for one, other in zip(together, alone, strict=True):
        assert one.stored_tokens == other.stored_tokens
        assert one.segment.memory.indices == other.segment.memory.indices


@pytest.mark.parametrize("name", MEMORIES)
def test_bf16_stays_close_to_fp32(lingbot: VGGT, name: str) -> None:
    half = StreamSession(small_model(config=LINGBOT).cast(torch.bfloat16), memory_of(name))
    exact = StreamSession(lingbot, memory_of(name))
    for frame in small_frames(8):
        got, want = half.push(frame), exact.push(frame)
        assert got.depth.isfinite().all()
        if name == "full":
            assert_near(got, want)


def test_a_start_that_runs_out_of_memory_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small_model(config=LINGBOT)
    frames, session = small_frames(6), StreamSession(model, memory_of("trajectory"))
    want = push_all(StreamSession(model, memory_of("trajectory")), frames)
    got = [session.push(frames[0])]

    def fail(*_args: object) -> object:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(model.depth_head, "forward", fail)
        with pytest.raises(torch.OutOfMemoryError):
            session.push(frames[1])
    got += push_all(session, frames[1:])
    assert_same(got, want)


@pytest.mark.parametrize("interval", [1, 2])
def test_a_stream_starts_again_before_its_trained_range_ends(interval: int) -> None:
    model = small_model(config=replace(LINGBOT, temporal_range=12))
    session = StreamSession(model, memory_of("trajectory", keyframe_interval=interval))
    starts = set()
    for frame in small_frames(20).repeat(3, 1, 1, 1):
        prediction = session.push(frame)
        assert prediction.pose_encoding.isfinite().all()
        assert session.segment.memory.stored_frames <= 12
        starts.add(session.segment.first_frame)
    assert len(starts) >= 3
    assert session.frame_index == 60


def test_an_overlap_of_several_frames_goes_on_without_a_jump(lingbot: VGGT) -> None:
    """The poses of both streams at the last common frame are the same in the world."""
    frames, session = small_frames(14), StreamSession(lingbot, memory_of("full"))
    push_all(session, frames[:6])
    session.reanchor(overlap=5)
    during = push_all(session, frames[6:11])
    plain = StreamSession(lingbot, memory_of("full"))
    assert_same(during, push_all(plain, frames[:11])[6:])
    assert len(session.revised) == 5
    got = session.revised[-1].camera_from_world
    torch.testing.assert_close(got, during[-1].camera_from_world, atol=1e-4, rtol=0)
    session.push(frames[11])
    assert session.revised == []
    assert session.token_frames(0).unique().tolist() == list(range(6, 12))
    with pytest.raises(ValueError, match="overlap must be 1 frame or more"):
        session.reanchor(overlap=0)


@pytest.mark.timeout(900)
def test_three_thousand_frames_hold_the_bytes_of_five_hundred() -> None:
    """Use the default settings; the stream is re-anchored twice automatically."""
    model = small_model(config=replace(LINGBOT, depth=1, dpt_layers=(0, 0, 0, 0)))
    session = StreamSession(model, MemoryConfig(policy="trajectory"))
    image = torch.rand(3, 14, 14, generator=torch.Generator().manual_seed(0))
    held = {}
    for index in range(1, 3001):
        session.push(image)
        if index in (500, 3000):
            held[index] = session.memory_bytes, session.stored_tokens
    assert held[500] == held[3000]


@pytest.mark.parametrize("wrapper", [None, "model"])
def test_the_published_layouts_load(tmp_path: Path, lingbot: VGGT, wrapper: str | None) -> None:
    """Load by keys and shapes alone."""
    config = replace(LINGBOT, depth=4, dpt_layers=(0, 1, 2, 3), img_size=518, start_frames=8)
    model = small_model(config=replace(config, camera_num_heads=16))
    state = model.state_dict()
    torch.save({wrapper: state} if wrapper else state, tmp_path / "lingbot-map-long.pt")
    torch.save({}, tmp_path / "lingbot-map.pt.part")
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == model.config
    assert same_state(loaded, model)


def test_missing_keys_are_named(tmp_path: Path, lingbot: VGGT) -> None:
    state = lingbot.state_dict()
    del state["depth_head.norm.bias"]
    torch.save(state, tmp_path / "lingbot-map.pt")
    with pytest.raises(CheckpointError, match=r"1 missing keys: depth_head\.norm\.bias"):
        load_checkpoint(tmp_path / "lingbot-map.pt", config=LINGBOT)
    del state["aggregator.global_blocks.0.attn.q_norm.weight"]
    torch.save(state, tmp_path / "lingbot-map.pt")
    with pytest.raises(CheckpointError, match=r"global_blocks\.0\.attn\.q_norm\.weight"):
        load_checkpoint(tmp_path / "lingbot-map.pt")


def test_a_snapshot_of_another_family_is_refused(lingbot: VGGT, model: VGGT) -> None:
    session = StreamSession(lingbot, memory_of("full"))
    session.push(small_frames(1)[0])
    with pytest.raises(ValueError, match="snapshot is of another network"):
        StreamSession(model).load_state_dict(session.state_dict())


def test_images_are_of_the_size_of_the_network(lingbot: VGGT) -> None:
    image, _ = lingbot.preprocess(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert image.shape == (3, HEIGHT, WIDTH)
    image, _ = lingbot.preprocess(np.zeros((100, 140, 3), np.uint8), mode="area")
    assert image.shape[1] * image.shape[2] <= 255_000 * (42 / 518) ** 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_photos
def test_the_full_size_network_streams_photos() -> None:
    """Use stand-in weights: this checks sizes, tokens and finite numbers, not geometry."""
    model = small_model(config=ModelConfig.lingbot_map())
    memory = MemoryConfig(policy="trajectory", window=1, start_frames=2, trajectory_frames=0)
    session = StreamSession(model, memory)
    for path in sorted((REAL / "static_room").iterdir())[:5]:
        picture = np.array(Image.open(path).convert("RGB").resize((112, 84)))
        image: Tensor = torch.from_numpy(picture).permute(2, 0, 1) / 255
        prediction = session.push(image)
        assert prediction.depth.shape == (1, 84, 112)
        assert all(value.isfinite().all() for value in present(prediction))
    tokens = 6 + 6 * 8
    assert session.stored_tokens == [(2 + 1) * tokens + 2 * 6] * 24
