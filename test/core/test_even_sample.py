# SPDX-License-Identifier: Apache-2.0
"""A bounded sample of an endless series."""

import pytest

from infinitevggt_core.io.even_sample import EvenSample


@pytest.mark.parametrize("count", [0, 1, 8, 9, 100, 1000])
def test_a_sample_is_bounded_and_even(count: int) -> None:
    sample: EvenSample[int] = EvenSample(8)
    for item in range(count):
        sample.add(item)
    assert len(sample.items) == min(count, len(sample.items)) <= 8
    assert len(sample.items) > min(count, 8) // 2 - 1
    stride = sample.items[1] if len(sample.items) > 1 else 1
    assert sample.items == list(range(0, count, stride))


def test_two_samples_keep_the_same_numbers() -> None:
    first: EvenSample[int] = EvenSample(5)
    second: EvenSample[str] = EvenSample(5)
    for item in range(37):
        first.add(item)
        second.add(str(item))
    assert [str(item) for item in first.items] == second.items


def test_without_a_bound_everything_stays() -> None:
    sample: EvenSample[int] = EvenSample()
    for item in range(1000):
        sample.add(item)
    assert sample.items == list(range(1000))
