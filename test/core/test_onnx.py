# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime decodes the frames of a stream as PyTorch does, with the same memory."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infinitevggt_core import VGGT, MemoryConfig, StreamSession
from infinitevggt_core.memory import POLICIES
from infinitevggt_core.model.constants import is_tracing
from infinitevggt_core.model.onnx_graph import GraphSizes, export
from infinitevggt_core.model.rope import frame_rotation
from infinitevggt_core.streaming import onnx_decoder
from infinitevggt_core.streaming.onnx_decoder import OnnxDecoder, use_engine
from infinitevggt_core.streaming.onnx_ring import RingStream
from support.core_samples import (
    FRAMES,
    HEIGHT,
    IMPORTANCE,
    MEMORIES,
    WIDTH,
    WINDOW,
    assert_predictions_close,
    push_all,
    small_frames,
    small_model,
)

TOLERANCE = 1e-4
SUITED = {"frames": FRAMES, "importance": IMPORTANCE, "window": WINDOW}


@pytest.fixture(scope="module")
def engine_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VGGT]:
    """A network whose graph is in the cache."""
    pytest.importorskip("onnxruntime", reason="pip install '.[onnx]'")
    pytest.importorskip("onnxscript", reason="pip install '.[onnx]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        model = small_model()
        use_engine(model, "onnx", threads=1)
        yield model


def decoder_of(model: VGGT) -> OnnxDecoder:
    assert isinstance(model.decoder, OnnxDecoder)
    return model.decoder


@pytest.mark.parametrize("name", SUITED)
def test_the_same_predictions_and_tokens_as_pytorch(engine_model: VGGT, name: str) -> None:
    ours, theirs = (
        StreamSession(small_model(), SUITED[name]),
        StreamSession(engine_model, SUITED[name]),
    )
    before = decoder_of(engine_model).decoded
    images = small_frames(24)
    for image in images:
        assert_predictions_close(theirs.push(image), ours.push(image), TOLERANCE)
    assert decoder_of(engine_model).decoded - before == len(images) - 1, "all but the first"
    for layer in range(engine_model.config.depth):
        assert torch.equal(theirs.token_frames(layer), ours.token_frames(layer))


def test_what_the_graph_cannot_decode_goes_to_pytorch(engine_model: VGGT) -> None:
    for memory, reason in (
        (MEMORIES["diversity"], "evicts before attention"),
        (replace(FRAMES, dtype="int8"), "fp32"),
        (replace(FRAMES, camera_memory="shared"), "share"),
    ):
        session, expected = (
            StreamSession(engine_model, memory),
            StreamSession(small_model(), memory),
        )
        images = small_frames(3)
        with pytest.warns(RuntimeWarning, match=reason):
            predictions = push_all(session, images)
        for got, want in zip(predictions, push_all(expected, images), strict=True):
            assert_predictions_close(got, want)


def test_an_engine_goes_on_with_a_stream_of_pytorch(engine_model: VGGT) -> None:
    ours, theirs = StreamSession(small_model(), FRAMES), StreamSession(engine_model, FRAMES)
    images = small_frames(20)
    for image in images[:12]:
        ours.push(image)
    theirs.load_state_dict(ours.state_dict())
    for image in images[12:]:
        assert_predictions_close(theirs.push(image), ours.push(image), TOLERANCE)


def test_auto_takes_a_graph_that_is_there_and_exports_none(
    engine_model: VGGT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    use_engine(model, "auto", threads=1)
    for image in small_frames(3):
        StreamSession(engine_model, FRAMES).push(image)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    session = StreamSession(model, FRAMES)
    for image in small_frames(3):
        session.push(image)
    assert decoder_of(model).decoded == 0
    assert not list(tmp_path.iterdir())


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_decoder, "find_spec", lambda name: None)
    model = small_model()
    use_engine(model, "auto")
    assert model.decoder is None
    with pytest.raises(ValueError, match=r"\[onnx\]"):
        use_engine(model, "onnx")
    with pytest.raises(ValueError, match="engine must be one of"):
        use_engine(model, "tensorrt")


def test_the_graphs_alone_stream_a_window(engine_model: VGGT, tmp_path: Path) -> None:
    frames = 4
    tokens = engine_model.aggregator.tokens_per_frame(HEIGHT, WIDTH)
    sizes = GraphSizes(frames * tokens, frames, HEIGHT, WIDTH)
    paths = tmp_path / "first.onnx", tmp_path / "later.onnx"
    for path, is_first in zip(paths, (True, False), strict=True):
        export(engine_model, sizes, path, is_first=is_first, fixed=True)
    ring = RingStream(engine_model, *paths, sizes)
    session = StreamSession(small_model(), MemoryConfig(policy="window", window=frames - 1))
    for image in small_frames(12):
        pose, depth, _ = ring.push(image.numpy())
        want = session.push(image)
        np.testing.assert_allclose(pose, want.pose_encoding.numpy(), atol=TOLERANCE)
        np.testing.assert_allclose(depth, want.depth.numpy(), rtol=TOLERANCE)


def test_constants_of_an_export_are_not_kept() -> None:
    class Rotates(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rotation = frame_rotation(3, 5, 8, x.device, x.dtype)
            assert is_tracing()
            return rotation(x)

    frame_rotation.cache_clear()
    x = torch.rand(1, 2, 20, 8)
    torch.export.export(Rotates(), (x,), strict=False)
    rotation = frame_rotation(3, 5, 8, x.device, x.dtype)
    assert rotation(x).isfinite().all()


def test_every_policy_is_either_suited_or_refused() -> None:
    for name, policy in POLICIES.items():
        evicts_in_the_graph = policy.before_attention or policy.uses_mean_key
        assert (name in {*SUITED, "full"}) != evicts_in_the_graph
