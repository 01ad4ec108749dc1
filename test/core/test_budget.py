# SPDX-License-Identifier: Apache-2.0
"""Allocation of a budget to the layers."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from infinitevggt_core.memory import allocate_budget

SCORES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=24)


@given(scores=SCORES, floor=st.integers(0, 3000), spare=st.integers(0, 10**12))
def test_budgets_hold_the_floor_and_the_total(scores: list[float], floor: int, spare: int) -> None:
    total = len(scores) * floor + spare
    budgets = allocate_budget(total, scores, floor)
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
    assert allocate_budget(total, scores, floor) == plain


@given(scores=SCORES, floor=st.integers(1, 3000), spare=st.integers(0, 2_000_000))
def test_little_of_the_total_is_left_over(scores: list[float], floor: int, spare: int) -> None:
    total = len(scores) * floor + spare
    assert sum(allocate_budget(total, scores, floor)) > total - 2 * len(scores)


@given(scores=SCORES, floor=st.integers(1, 3000), spare=st.integers(0, 2_000_000))
def test_a_more_diverse_layer_never_gets_less(scores: list[float], floor: int, spare: int) -> None:
    budgets = allocate_budget(len(scores) * floor + spare, scores, floor)
    ranked = [budget for _, budget in sorted(zip(scores, budgets, strict=True))]
    assert ranked == sorted(ranked, reverse=True)


def test_the_smallest_total_gives_every_layer_the_floor() -> None:
    assert allocate_budget(300, [0.9, 0.1, 0.4], floor=100) == [100, 100, 100]
    with pytest.raises(ValueError, match="299 tokens cannot give 3 layers 100"):
        allocate_budget(299, [0.9, 0.1, 0.4], floor=100)


def test_fresh_layers_share_the_released_default_evenly() -> None:
    assert allocate_budget(1_200_000, [0.0] * 24, floor=2 * 1041) == [50_000] * 24
