# SPDX-License-Identifier: Apache-2.0
"""Streams on CUDA: every policy and precision; all on one device, and no wait for it."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from infinitevggt_core import MemoryConfig, Prediction, StreamSession, push_together
from infinitevggt_core.model.late_tensors import LatePrediction
from support.core_samples import (
    EVICTING,
    FRAMES,
    HEIGHT,
    MEMORIES,
    SMALL,
    SMALLEST,
    TOKENS,
    WIDTH,
    present,
    small_frames,
    small_model,
)
from support.null_gpu import is_null, waits

LONG = 12
"""Frames after which every bounded memory has evicted some."""
IMAGE_CHECK = "session.py:_checked"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
STORED = ("auto", "float32", "int8")


def stream(memory: MemoryConfig, precision: str = "fp32", **options: Any) -> StreamSession:
    model = small_model().to("cuda").cast(PRECISIONS[precision])
    return StreamSession(model, memory, **options)


def assert_on_cuda(tree: Any) -> None:
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    assert tensors
    assert {x.device.type for x in tensors} == {"cuda"}


def run(session: StreamSession, frames: int = LONG) -> list[Prediction]:
    shape = session.image_shape or (1, 3, HEIGHT, WIDTH)
    images = torch.rand(frames, *shape)
    predictions = [session.push(image) for image in images]
    for prediction in predictions:
        assert_on_cuda(present(prediction))
    assert_on_cuda(session.state_dict())
    return predictions


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("name", MEMORIES)
def test_a_stream_stays_on_its_device_and_waits_for_nothing(
    name: str, stored: str, precision: str
) -> None:
    session = stream(replace(MEMORIES[name], dtype=stored), precision)
    run(session)
    with waits() as found:
        images = torch.rand(4, 3, HEIGHT, WIDTH)
        for image in images:
            session.push(image)
    assert not found
    if name != "full":
        assert max(session.stored_tokens) < (LONG + 4) * TOKENS


def test_an_image_on_the_device_is_checked_there() -> None:
    """Waits for one number, which is any on the null GPU."""
    session = stream(EVICTING)
    image = torch.rand(3, HEIGHT, WIDTH, device="cuda")
    with waits() as found, suppress(ValueError if is_null() else ()):
        session.check_image(image)
    assert found == {IMAGE_CHECK: 1}


@pytest.mark.parametrize("name", MEMORIES)
def test_two_streams_and_points(name: str) -> None:
    session = stream(MEMORIES[name], points=True)
    images = torch.rand(LONG, 2, 3, HEIGHT, WIDTH)
    predictions = [session.push(image) for image in images]
    assert_on_cuda(present(predictions[-1]))
    assert predictions[-1].points is not None
    assert predictions[-1].world_points().device.type == "cuda"
    assert predictions[-1].intrinsics.device.type == "cuda"


@pytest.mark.parametrize("height", [14, 42])
@pytest.mark.parametrize("width", [14, 98])
def test_other_image_sizes(height: int, width: int) -> None:
    session = stream(FRAMES if height > 14 else MemoryConfig(policy="window", window=2))
    for image in torch.rand(5, 3, height, width):
        assert session.push(image).depth.shape == (1, height, width)


@pytest.mark.parametrize("name", MEMORIES)
def test_sessions_pushed_together(name: str) -> None:
    model = small_model().to("cuda")
    sessions = [StreamSession(model, MEMORIES[name]) for _ in range(2)]
    for images in torch.rand(LONG, 2, 3, HEIGHT, WIDTH):
        for prediction in push_together(sessions, list(images)):
            assert_on_cuda(present(prediction))


def test_a_stream_goes_through_all_memories_and_back() -> None:
    session = stream(FRAMES)
    for stored in STORED:
        for memory in (*MEMORIES.values(), FRAMES):
            session.configure(replace(memory, dtype=stored))
            run(session, 3)


def test_limits_in_bytes_and_in_time() -> None:
    session = stream(replace(FRAMES, limit_mb=1))
    run(session)
    assert session.memory_bytes <= 1_000_000
    session.configure(replace(FRAMES, target_ms=1000.0))
    run(session, 7)


def test_pinned_frames_and_a_new_start() -> None:
    session = stream(replace(FRAMES, total_budget=5 * SMALLEST))
    run(session, 4)
    frame = session.pin()
    run(session, 6)
    session.unpin(frame)
    run(session, 2)
    session.reanchor()
    run(session)


def test_a_camera_memory_that_refinements_share() -> None:
    run(stream(replace(EVICTING, camera_memory="shared")))


@pytest.mark.parametrize("name", MEMORIES)
def test_a_snapshot_goes_on_on_both_devices(name: str) -> None:
    session = stream(MEMORIES[name])
    run(session)
    other = stream(MEMORIES[name])
    other.load_state_dict(session.state_dict())
    run(other, 3)
    if is_null():  # the host asks which camera tokens are hidden, and gets any numbers
        return
    other.to("cpu")
    assert other.push(torch.rand(3, HEIGHT, WIDTH)).depth.device.type == "cpu"
    other.to("cuda")
    run(other, 3)


@pytest.mark.skipif(is_null(), reason="asks the device for numbers, of which it has none")
@pytest.mark.parametrize("name", ["frames", "importance", "diversity"])
def test_out_of_memory_keeps_less(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = stream(MEMORIES[name])
    run(session)
    forward, failed = session.model.depth_head.forward, []

    def fail_once(*args: Any) -> Any:
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("no room")
        return forward(*args)

    monkeypatch.setattr(session.model.depth_head, "forward", fail_once)
    held = sum(session.stored_tokens)
    with pytest.warns(RuntimeWarning, match="out of memory"):
        session.push(small_frames(1)[0])
    assert sum(session.stored_tokens) < held
    run(session, 3)


def test_compute_precision_is_kept_in_memory() -> None:
    session = stream(EVICTING, "bf16")
    run(session)
    keys = [x for x in tree_leaves(session.state_dict()) if isinstance(x, Tensor)]
    assert torch.bfloat16 in {x.dtype for x in keys}
    assert session.stored_tokens[0] <= SMALLEST // SMALL.depth + 37


def test_a_prediction_goes_to_the_host_while_the_next_frame_is_computed() -> None:
    session = stream(FRAMES)
    run(session)
    image = torch.rand(3, HEIGHT, WIDTH)
    late = LatePrediction(session.push(image))
    with waits() as found:
        after = LatePrediction(session.push(image))
    assert not found
    for prediction in (late.read(), after.read()):
        assert {x.device.type for x in present(prediction)} == {"cpu"}
        assert prediction.depth.shape == (1, HEIGHT, WIDTH)


def test_the_camera_head_runs_beside_the_depth_head(monkeypatch: pytest.MonkeyPatch) -> None:
    session = stream(FRAMES)
    used: dict[str, torch.cuda.Stream] = {}

    def note(name: str) -> None:
        head = getattr(session.model, name)
        forward = head.forward

        def noted(*args: Any) -> Any:
            used[name] = torch.cuda.current_stream()
            return forward(*args)

        monkeypatch.setattr(head, "forward", noted)

    note("camera_head")
    note("depth_head")
    main = torch.cuda.current_stream()
    run(session, 3)
    assert used["depth_head"] == main == torch.cuda.current_stream()
    assert used["camera_head"] != main
