# SPDX-License-Identifier: Apache-2.0
"""Metres per unit, from measurements half of which may be anything."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infinitevggt_core.metric.scale_estimate import LATEST, ScaleEstimate

lengths = st.floats(1e-3, 1e3)


def estimate(ratios: list[float], needed: int = 1) -> ScaleEstimate:
    scale = ScaleEstimate(needed)
    for ratio in ratios:
        scale.add(ratio, 1.0)
    return scale


def test_nothing_is_known_before_there_are_enough() -> None:
    scale = estimate([2.0, 2.0], needed=3)
    assert not scale.is_known
    assert math.isnan(scale.factor)
    assert math.isnan(scale.sigma)
    scale.add(4.0, 2.0)
    assert scale.factor == pytest.approx(2)
    assert scale.sigma == 0


@given(st.lists(st.tuples(lengths, lengths), max_size=9), lengths)
def test_a_minority_of_nonsense_changes_nothing(
    nonsense: list[tuple[float, float]], truth: float
) -> None:
    scale = ScaleEstimate(1)
    for metres, units in nonsense:
        scale.add(metres, units)
    for _ in range(len(nonsense) + 1):
        scale.add(3 * truth, truth)
    assert scale.factor == pytest.approx(3)


def test_the_deviation_is_that_of_a_median_by_hand() -> None:
    """Logarithms -0.2, -0.1, 0, 0.1, 0.2: median 0, median absolute deviation 0.1."""
    scale = estimate([math.exp(x) for x in (-0.2, -0.1, 0.0, 0.1, 0.2)])
    assert scale.factor == pytest.approx(1)
    assert scale.sigma == pytest.approx(0.1 * 1.4826 * math.sqrt(math.pi / 2) / math.sqrt(5))


def test_a_shared_deviation_does_not_shrink_with_more_measurements() -> None:
    """Ratios that agree, 3 metres a unit, each with a relative deviation of a fifth; one of 5."""
    scale = estimate([])
    for relative_sigma in (0.2, 0.2, 5.0):
        scale.add(3.0, 1.0, relative_sigma)
    assert scale.sigma == pytest.approx(0.6)
    again = estimate([])
    again.restore(scale.state())
    assert (again.factor, again.sigma) == (scale.factor, scale.sigma)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_length_is_passed_over(bad: float) -> None:
    scale = estimate([2.0])
    scale.add(bad, 1.0)
    scale.add(1.0, bad)
    assert len(scale) == 1


def test_only_the_latest_count() -> None:
    scale = estimate([1.0] * 10_000 + [5.0] * (LATEST // 2 + 1))
    assert len(scale) == LATEST
    assert scale.factor == pytest.approx(5)


def test_measurements_go_on_from_a_snapshot() -> None:
    scale, resumed = estimate([2.0, 3.0, 5.0], needed=4), ScaleEstimate(4)
    resumed.restore(scale.state())
    for known in (scale, resumed):
        known.add(7.0, 1.0)
    assert resumed.factor == scale.factor
