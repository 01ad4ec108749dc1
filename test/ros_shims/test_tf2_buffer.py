# SPDX-License-Identifier: Apache-2.0
"""History and waiting of tf2_ros.Buffer, the original or the replacement in ros_shims/."""

import time
from threading import Thread, Timer

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time
from tf2_ros import (
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)

from support.tf2_samples import (
    AUTHORITY,
    LATEST,
    at,
    camera_chain,
    filled,
    matrix,
    transform,
)


@pytest.mark.parametrize("frame", ["", "/map"])
def test_frames_asked_for_have_a_name_without_a_slash(frame: str) -> None:
    with pytest.raises(InvalidArgumentException):
        camera_chain().lookup_transform("base", frame, LATEST)


def test_frames_sent_with_a_slash_are_stored_without_it() -> None:
    buffer = filled(transform("/map", "/base", 1.0, (1.0, 0.0, 0.0)))
    assert buffer.lookup_transform("map", "base", LATEST).transform.translation.x == 1.0


def test_every_error_is_a_transform_exception() -> None:
    errors = (LookupException, ConnectivityException, ExtrapolationException)
    for error in (*errors, InvalidArgumentException):
        assert issubclass(error, TransformException)
    assert issubclass(TransformException, Exception)


NAN = float("nan")
BAD = {
    "zero quaternion": transform("map", "base", 2.0, quaternion=(0.0, 0.0, 0.0, 0.0)),
    "NaN in the translation": transform("map", "base", 2.0, xyz=(NAN, 0.0, 0.0)),
    "NaN in the rotation": transform("map", "base", 2.0, quaternion=(NAN, 0.0, 0.0, 1.0)),
    "itself as parent": transform("base", "base", 2.0),
    "no child": transform("map", "", 2.0),
    "no parent": transform("", "base", 2.0),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_transform_changes_nothing(
    bad: TransformStamped, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = filled(transform("map", "base", 1.0, (1.0, 0.0, 0.0)))
    capfd.readouterr()
    buffer.set_transform(bad, AUTHORITY)
    buffer.set_transform_static(bad, AUTHORITY)
    assert capfd.readouterr().err.count("TF_") >= 2  # tf2 logs each of several faults
    found = buffer.lookup_transform("map", "base", LATEST)
    assert (found.transform.translation.x, found.header.stamp.sec) == (1.0, 1)


def test_a_quaternion_of_another_length_is_normalized() -> None:
    buffer = filled(transform("map", "base", 1.0, quaternion=(0.0, 0.0, 3.0, 3.0)))
    rotation = buffer.lookup_transform("map", "base", LATEST).transform.rotation
    half = np.sqrt(0.5)
    np.testing.assert_allclose([rotation.x, rotation.y, rotation.z, rotation.w], [0, 0, half, half])


def test_a_frame_in_itself_is_the_identity() -> None:
    found = camera_chain().lookup_transform("base", "base", at(4.0))
    np.testing.assert_array_equal(matrix(found), np.eye(4))
    assert found.header.stamp == at(4.0).to_msg()


def test_a_frame_may_move_to_another_parent() -> None:
    buffer = filled(transform("map", "box", 1.0, (7.0, 0.0, 0.0)), transform("map", "hand", 1.0))
    buffer.set_transform(transform("map", "hand", 2.0, (0.0, 5.0, 0.0)), AUTHORITY)
    buffer.set_transform(transform("hand", "box", 2.0, (0.0, 0.0, 1.0)), AUTHORITY)
    found = matrix(buffer.lookup_transform("map", "box", LATEST))
    np.testing.assert_allclose(found[:3, 3], [0, 5, 1])
    assert yaml.safe_load(buffer.all_frames_as_yaml())["box"]["parent"] == "hand"
    between = matrix(buffer.lookup_transform("map", "box", at(1.5)))
    np.testing.assert_allclose(between[:3, 3], [7, 0, 0])  # still where it was


@pytest.mark.parametrize(("cache_time", "oldest"), [(None, 10.0), (Duration(seconds=2.5), 17.5)])
def test_samples_older_than_the_cache_time_are_forgotten(
    cache_time: Duration | None, oldest: float
) -> None:
    samples = (transform("map", "base", half / 2, (half / 2, 0.0, 0.0)) for half in range(2, 41))
    buffer = filled(*samples, cache_time=cache_time)
    found = buffer.lookup_transform("map", "base", at(oldest + 0.25))
    assert found.transform.translation.x == pytest.approx(oldest + 0.25)
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("map", "base", at(oldest - 0.75))
    buffer.set_transform(transform("map", "base", 1.0), AUTHORITY)  # too old to be stored
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("map", "base", at(oldest - 0.75))


def test_a_flood_within_the_cache_time_stays_bounded() -> None:
    history = pytest.importorskip("tf2_ros.history", reason="the genuine tf2 has no such bound")
    buffer = Buffer(Duration(seconds=1000.0))
    count = history.MAX_SAMPLES + 50
    for index in range(count):
        buffer.set_transform(transform("map", "base", 1.0 + index / 1000), AUTHORITY)
    frame = yaml.safe_load(buffer.all_frames_as_yaml())["base"]
    assert frame["oldest_transform"] == pytest.approx(1.05, abs=0.0011)
    assert frame["most_recent_transform"] == pytest.approx(1.0 + (count - 1) / 1000, abs=0.0011)


def test_clearing_forgets_what_moves_and_keeps_what_is_static() -> None:
    buffer = camera_chain()
    buffer.clear()
    with pytest.raises(TransformException):
        buffer.lookup_transform("map", "base", LATEST)
    assert buffer.can_transform("base", "optical", LATEST) == 1


def test_all_frames_are_listed_with_their_parent_and_rate() -> None:
    frames = yaml.safe_load(camera_chain().all_frames_as_yaml())
    assert {name: frame["parent"] for name, frame in frames.items()} == {
        "odom": "map",
        "base": "odom",
        "optical": "base",
    }
    base = frames["base"]
    assert base["broadcaster"] == AUTHORITY
    assert base["oldest_transform"] == pytest.approx(3.0)
    assert base["most_recent_transform"] == pytest.approx(7.0)
    assert base["buffer_length"] == pytest.approx(4.0)
    assert base["rate"] == pytest.approx(0.5)  # two samples in 4 s


def test_an_empty_buffer_lists_no_frames() -> None:
    assert not yaml.safe_load(Buffer().all_frames_as_yaml())


def test_a_lookup_waits_until_the_transform_arrives() -> None:
    buffer = Buffer()
    sample = transform("map", "base", 1.0, (1.0, 0.0, 0.0))
    timer = Timer(0.1, buffer.set_transform, (sample, AUTHORITY))
    timer.start()
    start = time.monotonic()
    found = buffer.lookup_transform("map", "base", at(1.0), Duration(seconds=20.0))
    assert 0.05 < time.monotonic() - start < 10.0
    assert found.transform.translation.x == 1.0
    timer.join()


def test_a_lookup_waits_no_longer_than_its_timeout() -> None:
    start = time.monotonic()
    with pytest.raises(LookupException):
        Buffer().lookup_transform("map", "base", LATEST, timeout=Duration(seconds=0.1))
    assert 0.05 < time.monotonic() - start < 5.0
    start = time.monotonic()
    assert Buffer().can_transform("map", "base", LATEST) == 0
    assert time.monotonic() - start < 1.0


def test_one_thread_may_fill_the_buffer_while_others_look_up() -> None:
    buffer = filled(transform("map", "base", 1.0), transform("base", "optical", 1.0))
    problems: list[Exception] = []

    def look_up() -> None:
        for _ in range(500):
            try:
                found = buffer.lookup_transform("map", "optical", LATEST)
                stamp = Time.from_msg(found.header.stamp).nanoseconds / 1e9
                # both frames are at x = stamp, so any mixture of two times shows
                assert found.transform.translation.x == pytest.approx(2 * (stamp - 1.0))
            except Exception as problem:
                problems.append(problem)

    threads = [Thread(target=look_up) for _ in range(2)]
    for thread in threads:
        thread.start()
    step = 0
    while any(thread.is_alive() for thread in threads):
        step += 1
        seconds = 1.0 + step / 1000
        for parent, child in (("map", "base"), ("base", "optical")):
            buffer.set_transform(transform(parent, child, seconds, (step / 1000, 0, 0)), AUTHORITY)
    assert problems == []
