# SPDX-License-Identifier: Apache-2.0
"""Another node that sends the transform that this one would: it is said, and nobody fights."""

from typing import Any

import pytest
from scipy.spatial.transform import Rotation

from infinitevggt_ros.input import robot_tf
from infinitevggt_ros.params.settings import Settings, TfSettings
from support.camera import OPTICAL_FRAME
from support.rig import SMALL, Rig
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
        self.rig.hear_tf(*ROBOT, static=True)

    def sent(self) -> list[Any]:
        """With the next image."""
        before = len(self.rig.transforms)
        self.rig.node.now_ns += 10**9
        self.rig.push(1)
        return self.rig.transforms[before:]

    @property
    def is_said(self) -> bool:
        return any("another node sends map -> odom" in text for text in self.rig.warnings)


@pytest.mark.parametrize("mode", ["auto", "map_to_odom"])
def test_what_another_node_sends_once_and_for_all_is_left_to_it(mode: str) -> None:
    localized = Localized(TfSettings(mode=mode, require_metres=False))
    localized.rig.hear_tf(RIVAL, static=True)
    assert (localized.sent(), localized.is_said) == ([], True)


@pytest.mark.parametrize("mode", ["auto", "map_to_odom"])
def test_a_rival_that_ends_leaves_the_frame_to_us(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    localized = Localized(TfSettings(mode=mode, require_metres=False))
    (first,) = localized.sent()
    localized.rig.hear_tf(first)
    (second,) = localized.sent()
    assert not localized.is_said, "what we sent ourselves"
    localized.rig.hear_tf(RIVAL)
    assert (localized.sent(), localized.is_said) == ([], True)
    before = len(localized.rig.sent)
    localized.rig.node.now_ns += 10**9
    localized.rig.fire_timers()
    assert len(localized.rig.sent) == before, "the timer rests too"
    monkeypatch.setattr(robot_tf, "RIVAL_S", 0.0)
    (third,) = localized.sent()
    edges = {(t.header.frame_id, t.child_frame_id) for t in (first, second, third)}
    assert edges == {("map", "odom")}
