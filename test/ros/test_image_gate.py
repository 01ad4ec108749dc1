"""Which images may enter the stream."""

import pytest

from infinitevggt_ros.image_gate import BadInputError, ImageGate

SIZE, OTHER = (48, 64), (64, 48)


def opened(restart_after: int = 3) -> ImageGate:
    gate = ImageGate(restart_after)
    assert gate.check(100, SIZE) is False
    gate.admit(100, SIZE)
    return gate


def test_a_later_image_of_the_same_size_enters() -> None:
    assert opened().check(101, SIZE) is False


@pytest.mark.parametrize(
    ("stamp_ns", "size", "kind"),
    [(0, SIZE, "zero stamp"), (100, SIZE, "stamp back"), (101, OTHER, "size change")],
)
def test_a_refusal_says_what_is_wrong(stamp_ns: int, size: tuple[int, int], kind: str) -> None:
    with pytest.raises(BadInputError) as error:
        opened().check(stamp_ns, size)
    assert error.value.kind == kind


def test_a_run_of_images_that_stay_different_restarts_the_stream() -> None:
    gate = opened(restart_after=3)
    for stamp_ns in (1, 2):
        with pytest.raises(BadInputError):
            gate.check(stamp_ns, SIZE)
    assert gate.check(3, SIZE) is True


def test_a_good_image_between_ends_the_run() -> None:
    gate = opened(restart_after=2)
    for stamp_ns in (110, 120, 130):
        with pytest.raises(BadInputError):
            gate.check(stamp_ns - 100, SIZE)
        assert gate.check(stamp_ns, SIZE) is False
        gate.admit(stamp_ns, SIZE)


def test_one_image_sent_again_and_again_is_no_run() -> None:
    gate = opened(restart_after=2)
    for _ in range(10):
        with pytest.raises(BadInputError):
            gate.check(50, SIZE)


def test_zero_stamps_never_restart_the_stream() -> None:
    gate = opened(restart_after=1)
    for _ in range(5):
        with pytest.raises(BadInputError, match="zero"):
            gate.check(0, SIZE)


def test_after_a_reset_any_image_may_come() -> None:
    gate = opened()
    gate.forget()
    assert gate.check(1, OTHER) is False
