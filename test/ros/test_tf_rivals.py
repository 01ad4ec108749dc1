# SPDX-License-Identifier: Apache-2.0
"""Another node that sends the transform that this one would: it is said, and nobody fights."""

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from rclpy.time import Time
from scipy.spatial.transform import Rotation

from infinitevggt_ros.output import tf_tree
from infinitevggt_ros.params.settings import Settings, TfSettings
from support.camera import OPTICAL_FRAME
from support.rig import SMALL, TF, Rig
from support.transforms import OPTICAL, transform

ROBOT = [
    transform("odom", "base_link", 3.0, Rotation.identity()),
    transform("base_link", OPTICAL_FRAME, 0.2, OPTICAL),
]
RIVAL = transform("map", "odom", 5.0, Rotation.identity())


class Localized:
    """A stream on a robot with odometry, and what it sends."""

    def __init__(self, tf: TfSettings) -> None:
        self.rig = Rig(Settings(model=SMALL, tf=tf))
        self.tree = self.rig.stream._outputs._tf
        clock: Any = SimpleNamespace(now=lambda: Time(seconds=next(self._seconds)))
        self._seconds, self.tree._clock = count(1), clock
        self.buffer: Any = self.tree._buffer
        for edge in ROBOT:
            self.buffer.set_transform_static(edge, "robot")

    def sent(self) -> list[Any]:
        """With the next image."""
        before = len(self.rig.sent)
        self.rig.push(1)
        return [t for topic, m in self.rig.sent[before:] if topic == TF for t in m.transforms]

    @property
    def is_said(self) -> bool:
        return any("another node sends map to odom" in text for text in self.rig.warnings)


@pytest.mark.parametrize("mode", ["auto", "map_to_odom"])
def test_what_another_node_sends_once_and_for_all_is_left_to_it(mode: str) -> None:
    localized = Localized(TfSettings(mode=mode))
    localized.buffer.set_transform_static(RIVAL, "static_transform_publisher")
    assert (localized.sent(), localized.is_said) == ([], True)


@pytest.mark.parametrize("mode", ["auto", "map_to_odom"])
def test_a_rival_that_ends_leaves_the_frame_to_us(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    localized = Localized(TfSettings(mode=mode))
    (first,) = localized.sent()
    localized.buffer.set_transform(first, "heard again")
    (second,) = localized.sent()
    assert not localized.is_said, "what we sent ourselves"
    localized.buffer.set_transform(RIVAL, "amcl")
    assert (localized.sent(), localized.is_said) == ([], True)
    before = len(localized.rig.sent)
    localized.tree._send_again()
    assert len(localized.rig.sent) == before, "the timer rests too"
    monkeypatch.setattr(tf_tree, "RIVAL_S", 0.0)
    (third,) = localized.sent()
    edges = {(t.header.frame_id, t.child_frame_id) for t in (first, second, third)}
    assert edges == {("map", "odom")}
