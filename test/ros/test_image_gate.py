# SPDX-License-Identifier: Apache-2.0
"""Which images may enter the stream."""

import pytest

from infinitevggt_ros.input.image_gate import BadInputError, DifferentImageError, ImageGate
from infinitevggt_ros.params.settings import TimeSettings

SIZE, OTHER = (48, 64), (64, 48)
NOW_NS = 10**9


def refused(gate: ImageGate, stamp_ns: int, size: tuple[int, int] = SIZE) -> str:
    """The reason why an image is refused, as the stream records it."""
    with pytest.raises(BadInputError) as error:
        gate.check(stamp_ns, size, NOW_NS)
    if isinstance(error.value, DifferentImageError):
        gate.refuse(stamp_ns)
    return str(error.value)


def opened(restart_after: int = 3, on_jump: str = "reset") -> ImageGate:
    gate = ImageGate(restart_after, TimeSettings(on_jump=on_jump))
    assert gate.check(100, SIZE, NOW_NS) == ""
    gate.admit(100, SIZE)
    return gate


def test_a_later_image_of_the_same_size_enters() -> None:
    assert opened().check(101, SIZE, NOW_NS) == ""


@pytest.mark.parametrize(
    ("stamp_ns", "size", "kind", "words"),
    [
        (0, SIZE, "zero stamp", "zero, or below"),
        (100, SIZE, "stamp back", "its stamp is the last image's$"),
        (99, SIZE, "stamp back", "0.0 ms before the last image's"),
        (101, OTHER, "size change", "where the stream has"),
    ],
)
def test_a_refusal_says_what_is_wrong(
    stamp_ns: int, size: tuple[int, int], kind: str, words: str
) -> None:
    with pytest.raises(BadInputError, match=words) as error:
        opened().check(stamp_ns, size, NOW_NS)
    assert error.value.kind == kind


def test_a_run_of_images_that_stay_different_restarts_the_stream() -> None:
    gate = opened(restart_after=3)
    for stamp_ns in (1, 2):
        refused(gate, stamp_ns)
    assert "time went back" in gate.check(3, SIZE, NOW_NS)


def test_a_good_image_between_ends_the_run() -> None:
    gate = opened(restart_after=2)
    for stamp_ns in (110, 120, 130):
        refused(gate, stamp_ns - 100)
        assert gate.check(stamp_ns, SIZE, NOW_NS) == ""
        gate.admit(stamp_ns, SIZE)


def test_one_image_sent_again_and_again_is_no_run() -> None:
    gate = opened(restart_after=2)
    for _ in range(10):
        refused(gate, 50)


def test_zero_stamps_never_restart_the_stream() -> None:
    gate = opened(restart_after=1)
    for _ in range(5):
        assert "zero" in refused(gate, 0)


def test_after_a_reset_any_image_may_come() -> None:
    gate = opened()
    gate.reset()
    assert gate.check(1, OTHER, NOW_NS) == ""


def test_older_images_restart_nothing_where_that_is_refused_but_another_size_does() -> None:
    gate = opened(restart_after=2, on_jump="refuse")
    for stamp_ns in range(1, 50):
        assert "before the last" in refused(gate, stamp_ns)
    refused(gate, 101, OTHER)
    assert "64" in gate.check(102, OTHER, NOW_NS)


@pytest.mark.parametrize(("ahead_ns", "is_refused"), [(10**9, False), (10**9 + 1, True)])
def test_an_image_of_the_future_is_refused(ahead_ns: int, is_refused: bool) -> None:
    gate = opened()
    if not is_refused:
        assert gate.check(NOW_NS + ahead_ns, SIZE, NOW_NS) == ""
        return
    with pytest.raises(BadInputError, match=r"1\.0 s ahead of the node's clock"):
        gate.check(NOW_NS + ahead_ns, SIZE, NOW_NS)


def test_without_a_clock_there_is_no_future() -> None:
    assert opened().check(10**18, SIZE, 0) == ""


def test_a_check_changes_nothing() -> None:
    gate = opened(restart_after=3)
    before = gate.state()
    for stamp_ns, camera in ((1, ""), (2, ""), (3, ""), (4, "other")):
        if camera:
            gate.check(stamp_ns, OTHER, NOW_NS, camera)
        else:
            with pytest.raises(DifferentImageError):
                gate.check(stamp_ns, SIZE, NOW_NS)
    assert gate.state() == before
