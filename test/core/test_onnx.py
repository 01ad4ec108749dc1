# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime decodes the frames of a stream as PyTorch does, with the same memory."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infinitevggt_core import VGGT, MemoryConfig, StreamSession
from infinitevggt_core.memory import POLICIES
from infinitevggt_core.model.constants import is_tracing
from infinitevggt_core.model.onnx_graph import GraphSizes, export
from infinitevggt_core.model.rope import frame_rotation
from infinitevggt_core.streaming import graph_cache, onnx_decoder
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

pytestmark = pytest.mark.timeout(1500)  # an export of low priority beside busy processes
TOLERANCE = 1e-5
SUITED = {"frames": FRAMES, "importance": IMPORTANCE, "window": WINDOW}


@dataclass
class FirstStream:
    """A stream of `auto` where the cache is empty, after its graph was exported."""

    model: VGGT
    session: StreamSession
    cache: Path


@pytest.fixture(scope="module")
def first_stream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstStream]:
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setattr(onnx_decoder, "WORTH_EXPORTING", 4)
        model = small_model()
        use_engine(model, "auto", threads=1)
        session, decoder = StreamSession(model, FRAMES), decoder_of(model)
        images = small_frames(5)
        push_all(session, images[:4])
        assert decoder.export is None
        session.push(images[4])
        assert decoder.export is not None, "a graph is worth it after so many frames"
        assert decoder.export.wait() == ""
        yield FirstStream(model, session, cache / "infinitevggt")


@pytest.fixture
def engine_model(first_stream: FirstStream) -> VGGT:
    """A network whose graph is in the cache."""
    model = small_model()
    use_engine(model, "onnx", threads=1)
    return model


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


def test_auto_exports_beside_a_stream_for_later_ones(first_stream: FirstStream) -> None:
    model, decoder = first_stream.model, decoder_of(first_stream.model)
    assert [path.suffix for path in first_stream.cache.iterdir()] == [".onnx"]
    first_stream.session.push(small_frames(1)[0])
    assert decoder.export is None
    assert decoder.decoded == 0, "a stream keeps its engine"
    images = small_frames(9)
    want = push_all(StreamSession(small_model(), FRAMES), images)
    for got, expected in zip(push_all(StreamSession(model, FRAMES), images), want, strict=True):
        assert_predictions_close(got, expected, TOLERANCE)
    assert decoder.decoded == len(images) - 1, "all but the first"


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onnx_decoder, "WORTH_EXPORTING", 4)
    return tmp_path / "infinitevggt"


def test_onnx_exports_at_the_second_frame_and_says_so(
    first_stream: FirstStream,
    fresh_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    [exported] = first_stream.cache.iterdir()

    def copy(model: VGGT, size: tuple[int, int], path: Path) -> None:
        path.parent.mkdir()
        shutil.copy(exported, path)

    monkeypatch.setattr(onnx_decoder, "export_to_cache", copy)
    model = small_model()
    use_engine(model, "onnx", threads=1)
    push_all(StreamSession(model, FRAMES), small_frames(3))
    assert decoder_of(model).decoded == 2
    assert f"exporting the network for {WIDTH} x {HEIGHT} images" in caplog.text
    assert [path.name for path in fresh_cache.iterdir()] == [exported.name]


def test_an_export_that_fails_is_said_once(fresh_cache: Path) -> None:
    fresh_cache.write_text("no folder")
    model, images = small_model(), small_frames(9)
    use_engine(model, "auto", threads=1)
    session = StreamSession(model, FRAMES)
    push_all(session, images[:5])
    export = decoder_of(model).export
    assert export is not None
    export.wait()
    with pytest.warns(RuntimeWarning, match="the export failed: .*exists"):
        session.push(images[5])
    push_all(session, images[6:])
    use_engine(model, "onnx", threads=1)
    with pytest.warns(RuntimeWarning, match="PyTorch decodes the frames: .*exists"):
        push_all(StreamSession(model, FRAMES), images[:3])


def test_large_networks_are_exported_only_where_one_file_holds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small_model()
    monkeypatch.setattr(onnx_decoder, "CACHE_BYTES", 1024)
    use_engine(model, "auto")
    assert model.decoder is None
    monkeypatch.setattr(onnx_decoder, "GIGABYTE", 1024)
    with pytest.raises(ValueError, match="one file has no room"):
        use_engine(model, "onnx")


def test_graphs_used_longest_ago_leave_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{name}.onnx" for name in "abcd"]
    for age, path in enumerate(paths):
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    left, writing = tmp_path / ".e.onnx.0.1.partial", tmp_path / ".f.onnx.0.1.partial"
    left.touch()
    writing.touch()
    os.utime(left, (1000, 1000))
    graph_cache.mark_used(paths[3])
    monkeypatch.setattr(graph_cache, "CACHE_BYTES", 200)
    graph_cache.remove_old(tmp_path)
    assert set(tmp_path.iterdir()) == {paths[3], paths[0], writing}
    monkeypatch.setattr(graph_cache, "CACHE_BYTES", 10)
    graph_cache.remove_old(tmp_path)
    assert set(tmp_path.iterdir()) == {paths[3], writing}, "the one used last stays"


def test_a_graph_belongs_to_weights_size_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = small_model(), small_model()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    paths = {
        graph_cache.cached_graph(model, (28, 42)),
        graph_cache.cached_graph(model, (28, 28)),
        graph_cache.cached_graph(other, (28, 42)),
    }
    monkeypatch.setattr(graph_cache, "version", lambda name: "another")
    paths.add(graph_cache.cached_graph(model, (28, 42)))
    assert len(paths) == 4


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_decoder, "find_spec", lambda name: None)
    model = small_model()
    use_engine(model, "auto")
    assert model.decoder is None
    with pytest.raises(ValueError, match="pip install onnx onnxscript onnxruntime"):
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
