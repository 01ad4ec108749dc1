# SPDX-License-Identifier: Apache-2.0
"""Findings of /diagnostics by the status of a stream."""

import math

from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.diagnostics import OK, WARN, scale_finding, stream_finding


def test_a_lost_stream_says_how_to_go_on() -> None:
    level, text = stream_finding(StreamStatus(pose_state="lost", map_id=3))
    assert level == WARN
    assert text.startswith("lost: map 3 stands still")
    assert "~/reset" in text
    assert stream_finding(StreamStatus(pose_state="tracking", map_id=3))[0] == OK


def test_an_arbitrary_unit_is_a_warning_and_a_measured_one_is_none() -> None:
    level, text = scale_finding(StreamStatus(scale_source="none"))
    assert level == WARN
    assert "arbitrary unit: set scale.source" in text
    waiting = StreamStatus(
        scale_source="depth", metres_per_unit=math.nan, waiting_for="the scale from depth: 1 of 2"
    )
    level, text = scale_finding(waiting)
    assert level == WARN
    assert text == "waiting for the scale from depth: 1 of 2: nothing is published"
    measured = StreamStatus(scale_source="depth", metres_per_unit=2.0, metres_per_unit_sigma=0.02)
    assert scale_finding(measured)[0] == OK
