# SPDX-License-Identifier: Apache-2.0
"""LingBot-Map: the released implementation and ours give the same numbers (test/reference)."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from infinitevggt_core import MemoryConfig, ModelConfig, Prediction, StreamSession
from infinitevggt_core.model.geometry import invert_pose_encoding
from infinitevggt_core.model.rope import clip_rotation
from support.core_samples import REFERENCE, ReferenceCase, assert_close, reference_case

TOLERANCE = 1e-4
FIELDS = ("pose_enc", "depth", "depth_conf")
STREAMED = [
    "lingbot_batch_start_1",
    "lingbot_batch_start_2",
    "lingbot_batch_start_8",
    "lingbot_single_scale_frame",
    "lingbot_streaming",
    "lingbot_keyframes",
    "lingbot_portrait_dinov2",
    "lingbot_depth24_taps",
]


def published_memory(case: ReferenceCase) -> MemoryConfig:
    run = case.meta["run"]
    return MemoryConfig(
        policy="trajectory",
        window=run["window"],
        trajectory_frames=0,
        start_frames=run["scale_frames"],
        keyframe_interval=run["keyframe_interval"],
    )


def world_from_camera(encoding: Tensor) -> Tensor:
    """Pose encodings (..., 9) of the inverse transforms, with unit quaternions of positive w."""
    inverse = invert_pose_encoding(encoding)
    sign = torch.where(inverse[..., 6:7] < 0, -1.0, 1.0)
    return torch.cat((inverse[..., :3], sign * inverse[..., 3:7], inverse[..., 7:]), dim=-1)


def unit(encoding: Tensor) -> Tensor:
    """The same pose encodings with unit quaternions of positive w."""
    return world_from_camera(invert_pose_encoding(encoding))


def check(case: ReferenceCase, row: int, got: Prediction) -> None:
    """Compare a frame [1, ...] with a row of the reference, whose poses are world_from_camera."""
    step = case.meta["saved_pixel_stride"]
    want = {name: torch.from_numpy(case.arrays[name][row]) for name in FIELDS}
    assert_close(world_from_camera(got.pose_encoding)[0], unit(want["pose_enc"]), TOLERANCE, "pose")
    depth, confidence = got.depth[0, ::step, ::step], got.depth_confidence[0, ::step, ::step]
    assert_close(depth, want["depth"][..., 0], TOLERANCE, f"depth of frame {row}")
    assert_close(confidence, want["depth_conf"], TOLERANCE, f"confidence of frame {row}")


def test_every_reference_vector_is_compared() -> None:
    found = {path.stem for path in REFERENCE.glob("lingbot_*.npz")}
    assert found == {*STREAMED, "lingbot_rope3d", "lingbot_windowed"}


def test_the_rotation_equals_the_released_one() -> None:
    """Tokens of three frames of 2 x 2 patches and more, at the positions of the reference."""
    case = reference_case("lingbot_rope3d")
    q, want = (torch.from_numpy(case.arrays[name]) for name in ("q", "rotated"))
    for token, (frame, row, col) in enumerate(case.arrays["positions"].tolist()):
        specials, grid = 6, (max(row, 6) - 5, max(col, 6) - 5)
        if row < specials or col < specials:
            assert row == col
            place = row
        else:
            place = specials + (row - specials) * grid[1] + col - specials
        rotate = clip_rotation([frame], 1, grid, specials, torch.device("cpu"), torch.float32)
        tokens = specials + grid[0] * grid[1]
        got = rotate(q[None, :, token : token + 1].expand(-1, -1, tokens, -1))[0, :, place]
        assert_close(got, want[:, token], 1e-5, f"token {token}")


def test_the_rotation_of_a_counted_vector() -> None:
    """Numbers of the specification: (1, ..., 64) at frame 2, row 3, column 1."""
    rotate = clip_rotation([2], 1, (1, 1), 6, torch.device("cpu"), torch.float32)
    vector = torch.arange(1.0, 65.0).expand(1, 1, 7, 64)
    got = rotate(vector)[0, 0, 3]  # special token 3 lies at (2, 3, 3): the row's part of the vector
    want = torch.tensor([-2.234742, 0.077004, -0.760602, 4.941810])
    assert_close(got[:4], want, 1e-5)
    want = torch.tensor([18.989950, 20.009542, -23.894482, -18.816315, -16.933704, 28.605064])
    assert_close(got[18:24], want, 1e-5)
    got = rotate(vector)[0, 0, 1]
    want = torch.tensor([-13.791725, 59.956551, 21.553101, 60.633850])
    assert_close(got[42:46], want, 1e-5)


@pytest.mark.parametrize("name", STREAMED)
def test_a_session_equals_the_released_stream(name: str) -> None:
    case = reference_case(name)
    model, start = case.model, case.meta["run"]["scale_frames"]
    session = StreamSession(model, published_memory(case))
    tokens: list[Tensor] = []
    hook = model.camera_head.register_forward_hook(lambda _m, args, _out: tokens.append(args[0]))
    for index, frame in enumerate(case.frames):
        clip = session.begin(frame)
        with torch.no_grad():
            decoded = session.segment.decode(clip, points=False)
        prediction = session.complete(decoded)
        if index < start - 1:
            continue  # of the frames before, the reference has only what they are with all of them
        assert session.stored_tokens == case.arrays["kept_tokens"][index].tolist()
        assert set(session.segment.memory.camera.lengths) == {case.arrays["camera_frames"][index]}
        rows = range(start) if index == start - 1 else [index]
        for place, row in enumerate(rows):
            want = torch.from_numpy(case.arrays["camera_tokens"][row])
            assert_close(tokens[-1][0, place, 0], want, TOLERANCE, f"camera token {row}")
            check(case, row, decoded.frame(place))
        check(case, index, prediction)
    hook.remove()


def test_a_stream_started_again_and_again_equals_the_released_windows() -> None:
    """Windows that overlap: of the frames that two windows see, the reference keeps the later
    prediction, which is known when the overlap ends."""
    case = reference_case("lingbot_windowed")
    run = case.meta["run"]
    start, interval = run["scale_frames"], run["keyframe_interval"]
    span = start + (run["window_size"] - start) * interval
    overlap = max(start, run["overlap_keyframes"] * interval)
    session = StreamSession(case.model, published_memory(case))
    got: dict[int, Prediction] = {}
    first_clip: Prediction | None = None
    window, scales = 0, {0: 1.0}
    for index, frame in enumerate(case.frames):
        if index and index % (span - overlap) == 0:
            session.reanchor(overlap=overlap)
        clip = session.begin(frame)
        with torch.no_grad():
            decoded = session.segment.decode(clip, points=False)
        got[index] = session.complete(decoded)
        if index == start - 1:
            first_clip = decoded
        for place, prediction in enumerate(session.revised):
            got[index - overlap + 1 + place] = prediction
        if session.revised:
            window += 1
        else:
            scales[window] = float(got[index].depth.mean() / decoded.frame(-1).depth.mean())
    assert first_clip is not None
    for place in range(start):  # with all of the start, as the reference has them
        got[place] = first_clip.frame(place)
    assert_close(
        torch.tensor(list(scales.values())), torch.from_numpy(case.arrays["window_scales"]), 1e-4
    )
    for row, prediction in got.items():
        check(case, row, prediction)


def test_the_head_must_have_the_size_of_the_rotation() -> None:
    with pytest.raises(ValueError, match="must be 64"):
        ModelConfig.lingbot_map(embed_dim=144, num_heads=4, patch_embed="conv")


def test_the_published_network_has_the_keys_of_its_checkpoints() -> None:
    from infinitevggt_core import VGGT

    with torch.device("meta"):
        model, plain = VGGT(ModelConfig.lingbot_map()), VGGT(ModelConfig())
    state = model.state_dict()
    assert len(state) == 1342
    assert sum(tensor.numel() for tensor in state.values()) == 1_157_943_540
    want = {key for key in plain.state_dict() if not key.startswith("point_head.")}
    assert set(state) == want | {"aggregator.scale_token"}
    with pytest.raises(ValueError, match="no point head"):
        StreamSession(model, points=True)
    assert replace(model.config, point_head=True).point_head
