# SPDX-License-Identifier: Apache-2.0
"""Compiled blocks: the same tokens are kept, and a stream in its steady state compiles nothing."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from infinitevggt_core import VGGT, StreamSession
from infinitevggt_core.model import layers
from support.core_samples import (
    EVICTING,
    LINGBOT,
    MEMORIES,
    SMALL,
    push_all,
    small_frames,
    small_model,
)
from support.core_samples import assert_predictions_close as assert_close

UNTIL_FULL = 6
"""Number of frames after which every bounded memory evicts in each frame."""
MORE = 18


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, model: VGGT) -> Iterator[VGGT]:
    """Taken in by torch.compile, without code made of it; what cannot be taken in whole raises."""
    model = copy.deepcopy(model).compile_blocks()
    monkeypatch.setattr(
        torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True)
    )
    _clear_compiled()
    yield model
    _clear_compiled()


def _clear_compiled() -> None:
    torch._dynamo.reset()
    counters.clear()
    layers.compiled_parts.cache_clear()


@pytest.mark.parametrize("name", MEMORIES)
def test_the_steady_state_compiles_nothing(model: VGGT, compiled: VGGT, name: str) -> None:
    """Compiled and eager blocks keep the same tokens while budgets move."""
    frames = small_frames(UNTIL_FULL + MORE)
    plain, ours = (StreamSession(network, MEMORIES[name]) for network in (model, compiled))
    got = push_all(ours, frames[:UNTIL_FULL])
    graphs = counters["stats"]["unique_graphs"]
    got += push_all(ours, frames[UNTIL_FULL:])
    assert counters["stats"]["unique_graphs"] == graphs == 4, "two parts, of two kinds of block"
    for mine, theirs in zip(got, push_all(plain, frames), strict=True):
        assert_close(mine, theirs)
    for layer in range(SMALL.depth):
        assert torch.equal(ours.token_frames(layer), plain.token_frames(layer))


@pytest.mark.usefixtures("compiled")  # for its compiler
def test_a_rotation_over_time_compiles_nothing_anew() -> None:
    model = small_model(config=LINGBOT)
    frames = small_frames(UNTIL_FULL + 4)
    memory = replace(MEMORIES["trajectory"], start_frames=1)
    plain = StreamSession(model, memory)
    ours = StreamSession(copy.deepcopy(model).compile_blocks(), memory)
    got = push_all(ours, frames[:UNTIL_FULL])
    graphs = counters["stats"]["unique_graphs"]
    got += push_all(ours, frames[UNTIL_FULL:])
    assert counters["stats"]["unique_graphs"] == graphs
    for mine, theirs in zip(got, push_all(plain, frames), strict=True):
        assert_close(mine, theirs)


def test_a_copy_of_compiled_blocks_has_weights_of_its_own(compiled: VGGT) -> None:
    other = copy.deepcopy(compiled)
    torch.nn.init.zeros_(other.aggregator.frame_blocks[0].mlp.fc2.weight)
    image = small_frames(1)[0]
    one, two = (StreamSession(network).push(image) for network in (compiled, other))
    assert not torch.equal(one.depth, two.depth)


def test_code_that_is_made_keeps_the_same_tokens(model: VGGT) -> None:
    try:
        fast = copy.deepcopy(model).compile_blocks()
    except RuntimeError as reason:
        pytest.skip(str(reason))
    frames = small_frames(UNTIL_FULL + MORE)
    plain, ours = (StreamSession(network, EVICTING) for network in (model, fast))
    for mine, theirs in zip(push_all(ours, frames), push_all(plain, frames), strict=True):
        assert_close(mine, theirs)
    for layer in range(SMALL.depth):
        assert torch.equal(ours.token_frames(layer), plain.token_frames(layer))


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch, model: VGGT) -> None:
    def fail(part: object) -> None:
        raise OSError("no C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(RuntimeError, match=r"^torch.compile does not work here: no C.. compiler$"):
        copy.deepcopy(model).compile_blocks()


def test_gradients_pass_through_compiled_blocks(compiled: VGGT) -> None:
    compiled.requires_grad_(True)
    compiled(small_frames(2)[None], "causal").depth.sum().backward()
    assert all(
        block.attn.qkv.weight.grad is not None for block in compiled.aggregator.global_blocks
    )
