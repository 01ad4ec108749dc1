# SPDX-License-Identifier: Apache-2.0
"""Search of values by stamp."""

from hypothesis import given
from hypothesis import strategies as st

from infinitevggt_core.io.stamps import Recent, nearest

stamps = st.lists(st.integers(0, 100), max_size=12)
near = st.integers(0, 20)


@given(stamps, st.integers(-20, 120), near)
def test_what_is_nearest_is_found_in_any_order(
    kept: list[int], wanted: int, tolerance: int
) -> None:
    recent = Recent[int](20)
    for stamp in kept:
        recent.add(stamp, stamp)
    found, ordered = recent.nearest(wanted, tolerance), sorted(kept)
    index = nearest(ordered, wanted, tolerance)
    distance = min((abs(stamp - wanted) for stamp in kept), default=tolerance + 1)
    if distance > tolerance:
        assert found is index is None
    else:
        assert found is not None
        assert index is not None
        assert abs(found - wanted) == abs(ordered[index] - wanted) == distance


@given(stamps, near)
def test_what_lies_between_comes_in_order(kept: list[int], low: int) -> None:
    recent = Recent[int](20)
    for stamp in kept:
        recent.add(stamp, stamp)
    assert recent.between(low, 50) == sorted(stamp for stamp in kept if low <= stamp <= 50)


def test_after_a_jump_back_in_time_the_old_ones_leave_first() -> None:
    recent = Recent[str](2)
    for stamp, word in ((100, "before"), (101, "before"), (1, "after"), (2, "after")):
        recent.add(stamp, word)
    assert recent.nearest(100, 50) is None
    assert recent.between(0, 3) == ["after", "after"]
