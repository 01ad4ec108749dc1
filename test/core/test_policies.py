"""What is kept: the formula of model_spec.md section 4, and the promises of every policy."""

from dataclasses import replace

import pytest
import torch
from core_samples import (
    EVICTING,
    EXACT,
    MEMORIES,
    SMALL,
    SMALLEST,
    TOKENS,
    WINDOW,
    assert_close,
    push_all,
    rolling_memory,
    small_frames,
    view_of,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, StreamSession
from infinitevggt_core.memory import POLICIES, split_budget, token_policy
from infinitevggt_core.memory.precision import EightBit, Plain, Precision

CPU = torch.device("cpu")
PRECISIONS = [Plain(torch.float32), Plain(torch.bfloat16), EightBit(torch.float32)]
INT32_MAX = 2**31 - 1


def diversity_by_the_formula(keys: Tensor) -> Tensor:
    """Scores (batch, heads, candidates), straight from the specification."""
    unit = keys / keys.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return (unit * unit.mean(dim=2, keepdim=True)).sum(dim=-1)


def keys_of_frames(batch: int, heads: int, frames: int, tokens: int, dim: int) -> Tensor:
    """(batch, heads, frames, tokens, dim) random keys of a common direction."""
    return torch.randn(batch, heads, frames, tokens, dim) + torch.linspace(0, 1, dim)


def test_every_policy_of_the_settings_exists() -> None:
    assert list(POLICIES) == list(MemoryConfig.__dataclass_fields__["policy"].metadata["choices"])


@pytest.mark.parametrize("anchors", [0, 1, 2])
@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_diversity_forgets_the_keys_with_the_highest_scores(
    anchors: int, precision: Precision
) -> None:
    """By what is stored, in fp32, however few bits it is stored in."""
    memory = replace(EVICTING, anchor_frames=anchors)
    policy, keys = token_policy(memory), keys_of_frames(2, 3, 50, 6, dim=64)
    view = view_of(keys, memory, precision)
    gone = policy.choose(view, surplus=60)
    first = anchors * 6
    want = diversity_by_the_formula(view.tokens.keys[:, :, first:].double())
    highest = want.topk(60, dim=-1).indices + first
    assert torch.equal(gone.sort(dim=-1).values, highest.sort(dim=-1).values)
    assert_close(policy.score(view), want.mean(), EXACT)


@pytest.mark.parametrize("name", POLICIES)
def test_choosing_does_not_touch_the_tokens(name: str) -> None:
    view = view_of(keys_of_frames(1, 2, 9, 4, dim=8), MEMORIES[name])
    before = [part.clone() for part in view.tokens.parts]
    token_policy(MEMORIES[name]).choose(view, surplus=4)
    assert all(map(torch.equal, view.tokens.parts, before))


def test_diversity_of_keys_without_length_is_finite() -> None:
    view, policy = view_of(torch.zeros(1, 1, 6, 1, 4), EVICTING), token_policy(EVICTING)
    assert policy.score(view) == 0
    assert sorted(policy.choose(view, surplus=5).flatten().tolist()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", POLICIES)
def test_all_candidates_may_go_but_no_anchor(name: str) -> None:
    view = view_of(keys_of_frames(1, 2, 4, 5, dim=8), MEMORIES[name])
    gone = token_policy(MEMORIES[name]).choose(view, surplus=15)
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
    config = MemoryConfig(total_budget=budget, anchor_frames=anchors)
    memory = rolling_memory(layers, config)
    oracle = [torch.zeros(1, heads, 0, dim) for _ in range(layers)]
    generator = torch.Generator().manual_seed(seed)
    scores = [0.0] * layers
    for frame in range(6):
        memory.begin_frame(frame, tokens)
        limits = split_budget(budget, scores, floor)
        for layer in range(layers):
            keys = torch.randn(1, heads, tokens, dim, generator=generator) + 0.3 * layer
            memory.remember(layer, keys, 2 * keys)
            memory.forget(layer)
            plain = torch.cat((oracle[layer], keys), dim=2)
            if plain.shape[2] > limits[layer]:
                first = anchors * tokens
                formula = diversity_by_the_formula(plain[:, :, first:])
                kept = (-formula).topk(limits[layer] - first, dim=-1).indices.sort(dim=-1).values
                kept = torch.cat((torch.arange(first).expand(1, heads, -1), kept + first), dim=-1)
                plain = plain.gather(2, kept[..., None].expand(-1, -1, -1, dim))
                scores[layer] = formula.mean().item()
            oracle[layer] = plain
            got_keys, got_values = memory.recall(layer)
            assert torch.equal(got_values, 2 * got_keys)
            for head in range(heads):
                got = sorted(map(tuple, got_keys[0, head].tolist()))
                assert got == sorted(map(tuple, plain[0, head].tolist()))
        memory.end_frame()
        assert_close(torch.tensor(memory.scores), torch.tensor(scores), EXACT, "scores")


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("anchors", [1, 2])
def test_evicting_never_touches_anchors(
    model: VGGT, frames: Tensor, name: str, anchors: int
) -> None:
    memory = replace(MEMORIES[name], anchor_frames=anchors, total_budget=2 * SMALLEST)
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
    keys = session._memories[0].recall(layer)[0][0]
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


def test_no_tokens_are_kept_twice(model: VGGT) -> None:
    session = StreamSession(model, EVICTING)
    push_all(session, small_frames(30))
    for layer in range(SMALL.depth):
        for keys in session._memories[0].recall(layer)[0][0]:
            assert len(keys.unique(dim=0)) == len(keys)


SCORES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=24)


@given(scores=SCORES, floor=st.integers(0, 3000), spare=st.integers(0, 10**12))
def test_budgets_hold_the_floor_and_the_total(scores: list[float], floor: int, spare: int) -> None:
    total = len(scores) * floor + spare
    budgets = split_budget(total, scores, floor)
    assert len(budgets) == len(scores)
    assert min(budgets) >= floor
    assert sum(budgets) <= total


@given(scores=SCORES, total=st.integers(1, 2_000_000), floor=st.integers(0, 3000))
def test_budgets_are_the_plain_softmax_where_no_floor_binds(
    scores: list[float], total: int, floor: int
) -> None:
    weights = torch.softmax((1 - torch.tensor(scores)) / 0.5, dim=0)
    plain = (weights * total).to(torch.int32).tolist()
    assume(min(plain) >= floor)
    assume(sum(plain) <= total)
    assert split_budget(total, scores, floor) == plain


@given(scores=SCORES, floor=st.integers(1, 3000), spare=st.integers(0, 2_000_000))
def test_little_of_the_total_is_left_over(scores: list[float], floor: int, spare: int) -> None:
    total = len(scores) * floor + spare
    assert sum(split_budget(total, scores, floor)) > total - 2 * len(scores)


@given(scores=SCORES, floor=st.integers(1, 3000), spare=st.integers(0, 2_000_000))
def test_a_more_diverse_layer_never_gets_less(scores: list[float], floor: int, spare: int) -> None:
    budgets = split_budget(len(scores) * floor + spare, scores, floor)
    ranked = [budget for _, budget in sorted(zip(scores, budgets, strict=True))]
    assert ranked == sorted(ranked, reverse=True)


def test_the_smallest_total_gives_every_layer_the_floor() -> None:
    assert split_budget(300, [0.9, 0.1, 0.4], floor=100) == [100, 100, 100]
    with pytest.raises(ValueError, match="299 tokens cannot give 3 layers 100"):
        split_budget(299, [0.9, 0.1, 0.4], floor=100)


def test_fresh_layers_share_the_released_default_evenly() -> None:
    assert split_budget(1_200_000, [0.0] * 24, floor=2 * 1041) == [50_000] * 24


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"policy": "lru"}, "policy must be one of diversity, full"),
        ({"total_budget": 0}, "total_budget must lie in"),
        ({"anchor_frames": -1}, "anchor_frames must lie in"),
        ({"window": 0}, "window must lie in"),
        ({"camera_memory": "none"}, "camera_memory must be one of"),
        ({"camera_frames": 0}, "camera_frames must lie in"),
        ({"dtype": "float16"}, "dtype must be one of auto, float32, bfloat16, int8"),
        ({"policy_options": "decay=3"}, "policy diversity has no option 'decay'; it has: none"),
        ({"total_budget": float("nan")}, "total_budget must lie in"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MemoryConfig(**change)


def test_a_memory_that_does_not_evict_keeps_its_scores() -> None:
    memory = rolling_memory(1, MemoryConfig(total_budget=100))
    memory.load_state_dict({"scores": [0.25], "store": {"lengths": [0]}, "means": {}}, CPU)
    memory.begin_frame(0, 4)
    memory.remember(0, torch.randn(1, 1, 4, 2), torch.randn(1, 1, 4, 2))
    memory.forget(0)
    memory.end_frame()
    assert memory.scores == [0.25]
