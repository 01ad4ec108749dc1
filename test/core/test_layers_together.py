# SPDX-License-Identifier: Apache-2.0
"""Eviction of all layers as one batch keeps the same tokens, and gives the same bits, as eviction
layer by layer and token by token."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, Prediction, StreamSession
from infinitevggt_core.memory import POLICIES
from infinitevggt_core.memory.kv_cache import KVCache
from infinitevggt_core.memory.policies.base import RetentionPolicy
from support.core_samples import (
    FRAMES,
    IMPORTANCE,
    SMALL,
    SMALLEST,
    WINDOW,
    assert_same,
    push_all,
    small_frames,
)

LAYERS = range(SMALL.depth)
TOGETHER = {"frames": FRAMES, "importance": IMPORTANCE, "window": WINDOW}


def token_by_token(self: RetentionPolicy, layer: object, leaving: Tensor | None = None) -> Tensor:
    return RetentionPolicy.choose(self, layer, leaving)  # type: ignore[arg-type]


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As memories evicted before layers were taken together."""
    for name in TOGETHER:
        monkeypatch.setattr(POLICIES[name], "takes_all_layers", False)
        monkeypatch.setattr(POLICIES[name], "choose", token_by_token)
    return monkeypatch


def run(model: VGGT, memory: MemoryConfig, images: Tensor) -> tuple[list[Prediction], list[Tensor]]:
    """Return predictions, and the frames of the tokens kept in each layer, in their order."""
    session = StreamSession(model, memory)
    predictions = push_all(session, images)
    return predictions, [session.token_frames(layer) for layer in LAYERS]


@pytest.mark.parametrize("extra", [0, 17])
@pytest.mark.parametrize("stored", ["auto", "int8"])
@pytest.mark.parametrize("name", TOGETHER)
def test_the_same_tokens_and_bits(
    model: VGGT, name: str, stored: str, extra: int, one_by_one: pytest.MonkeyPatch
) -> None:
    """extra: tokens with which the budget is no whole number of frames."""
    memory = TOGETHER[name]
    memory = replace(memory, dtype=stored, total_budget=memory.total_budget + extra)
    images = small_frames(24)
    before, kept_before = run(model, memory, images)
    one_by_one.undo()
    after, kept = run(model, memory, images)
    assert_same(after, before)
    assert all(torch.equal(a, b) for a, b in zip(kept, kept_before, strict=True))


def test_the_same_after_another_policy_left_parts_of_frames(
    model: VGGT, one_by_one: pytest.MonkeyPatch
) -> None:
    images = small_frames(28)

    def changing() -> list[Prediction]:
        session = StreamSession(model, replace(IMPORTANCE, total_budget=3 * SMALLEST + 9))
        first = push_all(session, images[:12])
        session.configure(FRAMES)
        second = push_all(session, images[12:20])
        session.configure(WINDOW)
        return first + second + push_all(session, images[20:])

    before = changing()
    one_by_one.undo()
    assert_same(changing(), before)


def test_a_snapshot_goes_on_as_the_stream(model: VGGT) -> None:
    """The mean keys of the frames, which are kept, and those that are averaged anew agree."""
    images = small_frames(24)
    session, other = StreamSession(model, FRAMES), StreamSession(model, FRAMES)
    push_all(session, images[:14])
    other.load_state_dict(session.state_dict())
    assert_same(push_all(other, images[14:]), push_all(session, images[14:]))


@pytest.mark.parametrize("name", TOGETHER)
def test_layers_are_evicted_together_once_a_memory_is_full(
    model: VGGT, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    single: list[int] = []
    monkeypatch.setattr(KVCache, "evict", lambda self, layer: single.append(layer))
    session = StreamSession(model, TOGETHER[name])
    push_all(session, small_frames(20))
    assert not single
    assert len(set(session.stored_tokens)) == 1


def test_budget_steps_bound_the_lengths_of_diversity(model: VGGT) -> None:
    memory = MemoryConfig(policy="diversity", total_budget=2 * SMALLEST, camera_frames=3)
    stepped = replace(memory, policy_options="budget_step=8")
    lengths: dict[MemoryConfig, set[int]] = {memory: set(), stepped: set()}
    for config, found in lengths.items():
        session = StreamSession(model, config)
        for image in small_frames(20):
            session.push(image)
            found.update(session.stored_tokens)
        assert sum(session.stored_tokens) <= config.total_budget
    assert len(lengths[stepped]) < len(lengths[memory])
