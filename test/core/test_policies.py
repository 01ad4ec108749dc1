# SPDX-License-Identifier: Apache-2.0
"""Retained tokens: the formula of docs/model.md, and the invariants of every policy."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, StreamSession
from infinitevggt_core.config import option
from infinitevggt_core.memory import (
    POLICIES,
    CacheShape,
    RetentionPolicy,
    allocate_budget,
    token_policy,
)
from infinitevggt_core.memory.policies.base import LayerView, register
from infinitevggt_core.memory.policies.registry import Importance
from infinitevggt_core.memory.precision import EightBit, Plain, Precision
from support.core_samples import (
    EVICTING,
    EXACT,
    IMPORTANCE,
    MEMORIES,
    SMALL,
    SMALLEST,
    TOKENS,
    WINDOW,
    assert_close,
    make_cache,
    push_all,
    small_frames,
    view_of,
)

CPU = torch.device("cpu")
PRECISIONS = [Plain(torch.float32), Plain(torch.bfloat16), EightBit(torch.float32)]
INT32_MAX = 2**31 - 1


def diversity_by_the_formula(keys: Tensor) -> Tensor:
    """Return similarities (batch, heads, candidates) by the formula of the documentation."""
    unit = keys / keys.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return (unit * unit.mean(dim=2, keepdim=True)).sum(dim=-1)


def keys_of_frames(batch: int, heads: int, frames: int, tokens: int, dim: int) -> Tensor:
    """(batch, heads, frames, tokens, dim) random keys of a common direction."""
    return torch.randn(batch, heads, frames, tokens, dim) + torch.linspace(0, 1, dim)


def test_every_policy_of_the_settings_exists() -> None:
    assert list(POLICIES) == list(MemoryConfig.__dataclass_fields__["policy"].metadata["choices"])


@pytest.mark.parametrize("anchors", [0, 1, 2])
@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_diversity_evicts_the_keys_most_similar_to_their_mean(
    anchors: int, precision: Precision
) -> None:
    """Scores are fp32 products of the stored keys, whatever the storage precision."""
    memory = replace(EVICTING, anchor_frames=anchors)
    policy, keys = token_policy(memory), keys_of_frames(2, 3, 50, 6, dim=64)
    view = view_of(keys, memory, 60, precision)
    gone = policy.choose(view)
    first = anchors * 6
    want = diversity_by_the_formula(view.tokens.keys[:, :, first:].double())
    highest = want.topk(60, dim=-1).indices + first
    assert torch.equal(gone.sort(dim=-1).values, highest.sort(dim=-1).values)
    assert_close(policy.similarity(view), want.mean(), EXACT)


@pytest.mark.parametrize("name", POLICIES)
def test_choosing_does_not_touch_the_tokens(name: str) -> None:
    view = view_of(keys_of_frames(1, 2, 9, 4, dim=8), MEMORIES[name], surplus=4)
    before = [part.clone() for part in view.tokens.parts]
    token_policy(MEMORIES[name]).choose(view)
    assert all(map(torch.equal, view.tokens.parts, before))


def test_diversity_of_keys_without_length_is_finite() -> None:
    view, policy = view_of(torch.zeros(1, 1, 6, 1, 4), EVICTING, 5), token_policy(EVICTING)
    assert policy.similarity(view) == 0
    assert sorted(policy.choose(view).flatten().tolist()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", POLICIES)
def test_all_candidates_may_go_but_no_anchor(name: str) -> None:
    memory = replace(MEMORIES[name], policy_options="")
    view = view_of(keys_of_frames(1, 2, 4, 5, dim=8), memory, surplus=15)
    gone = token_policy(memory).choose(view)
    assert (gone.sort(dim=-1).values == torch.arange(5, 20)).all()


@given(
    heads=st.integers(1, 3),
    anchors=st.integers(0, 2),
    extra=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_a_memory_keeps_what_the_formula_keeps(
    heads: int, anchors: int, extra: int, seed: int
) -> None:
    """Frame by frame against a plain list of tokens in order of time, over two layers."""
    tokens, dim, layers = 4, 8, 2
    floor = (anchors + 1) * tokens
    budget = layers * floor + extra
    config = MemoryConfig("diversity", total_budget=budget, anchor_frames=anchors)
    memory = make_cache(layers, config)
    oracle = [torch.zeros(1, heads, 0, dim) for _ in range(layers)]
    generator = torch.Generator().manual_seed(seed)
    scores = [0.0] * layers
    for frame in range(6):
        memory.begin_frame(frame, tokens)
        limits = allocate_budget(budget, scores, floor)
        for layer in range(layers):
            keys = torch.randn(1, heads, tokens, dim, generator=generator) + 0.3 * layer
            memory.append(layer, keys, 2 * keys)
            memory.evict(layer)
            plain = torch.cat((oracle[layer], keys), dim=2)
            if plain.shape[2] > limits[layer]:
                first = anchors * tokens
                formula = diversity_by_the_formula(plain[:, :, first:])
                kept = (-formula).topk(limits[layer] - first, dim=-1).indices.sort(dim=-1).values
                kept = torch.cat((torch.arange(first).expand(1, heads, -1), kept + first), dim=-1)
                plain = plain.gather(2, kept[..., None].expand(-1, -1, -1, dim))
                scores[layer] = formula.mean().item()
            oracle[layer] = plain
            got_keys, got_values = memory.get(layer)
            assert torch.equal(got_values, 2 * got_keys)
            for head in range(heads):
                got = sorted(map(tuple, got_keys[0, head].tolist()))
                assert got == sorted(map(tuple, plain[0, head].tolist()))
        memory.end_frame()
        assert_close(torch.tensor(memory.similarities), torch.tensor(scores), EXACT, "scores")


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("anchors", [1, 2])
def test_evicting_never_touches_anchors(
    model: VGGT, frames: Tensor, name: str, anchors: int
) -> None:
    memory = replace(MEMORIES[name], anchor_frames=anchors, total_budget=3 * SMALLEST)
    session = StreamSession(model, memory)
    keys_of_anchors: list[list[Tensor]] = []
    for index, frame in enumerate(frames):
        session.push(frame)
        for layer in range(SMALL.depth):
            origin = session.token_frames(layer)
            for anchor in range(min(anchors, index + 1)):
                assert ((origin == anchor).sum(dim=-1) == TOKENS).all()
        if index == anchors - 1:
            keys_of_anchors = [anchor_keys(session, layer, anchors) for layer in range(SMALL.depth)]
    for layer, before in enumerate(keys_of_anchors):
        for head, keys in enumerate(anchor_keys(session, layer, anchors)):
            assert torch.equal(keys, before[head]), "the keys of an anchor changed"


def anchor_keys(session: StreamSession, layer: int, anchors: int) -> list[Tensor]:
    """Per head, the keys of the anchors in an order that depends on their values alone."""
    keys = session.segment.memory.streams[0].get(layer)[0][0]
    origin = session.token_frames(layer)
    rows = [head[frame < anchors] for head, frame in zip(keys, origin, strict=True)]
    return [row[row[:, 0].argsort()].clone() for row in rows]


def test_heads_keep_tokens_of_their_own(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, EVICTING)
    push_all(session, frames)
    layers = (session.token_frames(layer).sort(dim=-1).values for layer in range(SMALL.depth))
    assert any(not torch.equal(heads[0], heads[1]) for heads in layers)


@pytest.mark.parametrize("anchors", [0, 1, 2])
@pytest.mark.parametrize("window", [1, 4])
def test_the_window_is_the_anchors_and_the_latest_frames_exactly(
    model: VGGT, frames: Tensor, window: int, anchors: int
) -> None:
    session = StreamSession(model, replace(WINDOW, window=window, anchor_frames=anchors))
    for index, frame in enumerate(frames):
        session.push(frame)
        latest = range(max(0, index + 1 - window), index + 1)
        kept = sorted({*range(min(anchors, index + 1)), *latest})
        want = torch.tensor(kept, dtype=torch.int32).repeat_interleave(TOKENS)
        for layer in range(SMALL.depth):
            for head in session.token_frames(layer).sort(dim=-1).values:
                assert torch.equal(head, want)


def test_full_keeps_everything(model: VGGT, frames: Tensor) -> None:
    session = StreamSession(model, MEMORIES["full"])
    push_all(session, frames)
    want = torch.arange(len(frames), dtype=torch.int32).repeat_interleave(TOKENS)
    assert (session.token_frames(SMALL.depth - 1).sort(dim=-1).values == want).all()


def frames_by_the_description(keys: Tensor, budget: int, window: int) -> list[int]:
    """Which of the frames 0, 1, ... with keys (heads, frames, tokens, dim) are held at the end,
    where `budget` may be and frame 0 is an anchor: one frame after the other, pair by pair."""
    prototypes = torch.nn.functional.normalize(keys.mean(dim=2), dim=-1)
    held: list[int] = []
    for latest in range(keys.shape[1]):
        held.append(latest)
        free = [frame for frame in held if 0 < frame <= latest - window]
        if len(held) <= budget:
            continue

        def alike(one: int, other: int) -> float:
            return (prototypes[:, one] * prototypes[:, other]).sum(dim=-1).mean().item()

        def closest(frame: int) -> tuple[float, float]:
            others = [alike(frame, other) for other in held if other != frame]
            return round(max(others), 5), sum(others)

        held.remove(max(free, key=closest))
    return held


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("budget", [5, 8])
def test_frames_keeps_whole_frames_that_differ(budget: int, precision: Precision) -> None:
    """Against the description in the docstring, over 30 frames that come back to five places."""
    heads, tokens, dim, window = 3, 7, 16, 2
    places = torch.randn(5, heads, 1, tokens, dim)
    keys = torch.stack([places[i * i % 5, :, 0] for i in range(30)], dim=1)
    keys += 0.5 * torch.randn_like(keys)
    config = MemoryConfig(policy="frames", total_budget=budget * tokens, window=window)
    memory = make_cache(1, config, precision)
    for frame, of_frame in enumerate(keys.unbind(1)):
        memory.begin_frame(frame, tokens)
        memory.append(0, of_frame[None], of_frame[None])
        memory.end_frame()
    want = torch.tensor(frames_by_the_description(keys, budget, window)).repeat_interleave(tokens)
    for head in memory.frames(0)[0].sort(dim=-1).values:
        assert head.tolist() == want.tolist()


def test_frames_evicts_several_at_once_one_by_one() -> None:
    """One of two equal frames stays, although both have the lowest score."""
    tokens, dim = 4, 8
    keys = torch.randn(1, 1, 6, tokens, dim)
    keys[:, :, 3] = keys[:, :, 2]
    keys[:, :, 5] = 1.1 * keys[:, :, 4]
    config = MemoryConfig(policy="frames", total_budget=100, window=1)
    view = view_of(keys, config, surplus=2 * tokens)
    gone = (token_policy(config).choose(view) // tokens).unique().tolist()
    assert len(gone) == 2
    assert gone[0] in (2, 3)
    assert gone[1] == 4  # 5 is the latest frame


def test_importance_keeps_the_tokens_with_the_largest_updates(model: VGGT, frames: Tensor) -> None:
    """Compare with the updates of one layer as a hook sees them, without temporary anchors."""
    memory = replace(IMPORTANCE, policy_options="moving_anchors=0")
    session, layer = StreamSession(model, memory), 2
    block, seen = model.aggregator.global_blocks[layer], []
    hook = block.ls2.register_forward_hook(lambda _m, _x, out: seen.append(out[0].norm(dim=-1)))
    push_all(session, frames)
    hook.remove()
    stored = session.segment.memory.streams[0].tokens(layer)
    assert torch.equal(stored.metadata[0, 0], stored.metadata[0, 1])
    held = list(zip(stored.frames[0, 0].tolist(), stored.metadata[0, 0].tolist(), strict=True))
    room = session.stored_tokens[layer] - TOKENS
    kept: list[tuple[int, float]] = []
    for frame, sizes in enumerate(seen[1:], start=1):
        kept = sorted([*kept, *((frame, size) for size in sizes.tolist())], key=lambda x: -x[1])
        kept = kept[:room]
    assert sorted(kept) == sorted(token for token in held if token[0] > 0)


def test_importance_moves_its_anchors(model: VGGT) -> None:
    session = StreamSession(model, IMPORTANCE)  # two, every third frame
    for index, frame in enumerate(small_frames(20)):
        session.push(frame)
        latest = index - index % 3
        for anchor in {0, max(0, latest), max(0, latest - 3)}:
            held = (session.token_frames(1) == anchor).sum(dim=-1)
            assert (held == TOKENS).all(), f"frame {anchor} at frame {index}"


def test_a_policy_of_ones_own_needs_one_class(model: VGGT, frames: Tensor) -> None:
    with pytest.raises(ValueError, match="policy must be one of"):
        MemoryConfig(policy="nearest_half")

    @register("nearest_half")
    @dataclass(frozen=True)
    class NearestHalf(RetentionPolicy):
        total_budget: int
        offset: float = option(0.5, "an offset", low=0.0, high=1.0)

        def capacity(self, shape: CacheShape) -> int:
            return self.total_budget

        def score(self, layer: LayerView) -> Tensor:
            return (layer.tokens.frames - layer.frame) - self.offset

    try:
        memory = MemoryConfig(
            policy="nearest_half", policy_options="offset=0.25", total_budget=2 * SMALLEST
        )
        assert token_policy(memory).offset == 0.25
        with pytest.raises(ValueError, match="offset must lie in"):
            MemoryConfig(policy="nearest_half", policy_options="offset=7")
        with pytest.raises(ValueError, match="it has: offset"):
            MemoryConfig(policy="nearest_half", policy_options="ofset=0.5")
        with pytest.raises(ValueError, match="could not convert"):
            MemoryConfig(policy="nearest_half", policy_options="offset=much")
        session = StreamSession(model, memory)
        push_all(session, frames)
        assert session.stored_tokens == [4 * TOKENS] * SMALL.depth
        assert session.token_frames(0)[0].unique().tolist() == [0, 13, 14, 15]
        with pytest.raises(ValueError, match="already"):
            register("nearest_half")(NearestHalf)
    finally:
        del POLICIES["nearest_half"]


def test_a_policy_that_would_note_other_tokens_is_refused() -> None:
    class Broken(Importance):
        before_attention = True

    with pytest.raises(ValueError, match="'broken' cannot have both"):
        register("broken")(Broken)
    assert "broken" not in POLICIES


def test_no_tokens_are_kept_twice(model: VGGT) -> None:
    session = StreamSession(model, EVICTING)
    push_all(session, small_frames(30))
    for layer in range(SMALL.depth):
        for keys in session.segment.memory.streams[0].get(layer)[0][0]:
            assert len(keys.unique(dim=0)) == len(keys)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"policy": "lru"}, "policy must be one of diversity, frames"),
        ({"total_budget": 0}, "total_budget must lie in"),
        ({"anchor_frames": -1}, "anchor_frames must lie in"),
        ({"window": 0}, "window must lie in"),
        ({"camera_memory": "none"}, "camera_memory must be one of"),
        ({"camera_frames": 0}, "camera_frames must lie in"),
        ({"dtype": "float16"}, "dtype must be one of auto, float32, bfloat16, int8"),
        ({"policy_options": "decay=3"}, "policy frames has no option 'decay'; it has: none"),
        ({"total_budget": float("nan")}, "total_budget must lie in"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MemoryConfig(**change)


def test_a_memory_that_does_not_evict_keeps_its_scores() -> None:
    memory = make_cache(1, MemoryConfig(total_budget=100))
    memory.load_state_dict(
        {"similarities": [0.25], "store": {"lengths": [0]}, "means": {}, "temporary_anchors": []},
        CPU,
    )
    memory.begin_frame(0, 4)
    memory.append(0, torch.randn(1, 1, 4, 2), torch.randn(1, 1, 4, 2))
    memory.evict(0)
    memory.end_frame()
    assert memory.similarities == [0.25]
