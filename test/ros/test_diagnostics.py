# SPDX-License-Identifier: Apache-2.0
"""Findings of /diagnostics by the status of a stream."""

from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.diagnostics import OK, WARN, stream_finding


def test_a_lost_stream_says_how_to_go_on() -> None:
    level, text = stream_finding(StreamStatus(pose_state="lost", map_id=3))
    assert level == WARN
    assert text.startswith("lost: map 3 stands still")
    assert "~/reset" in text
    assert stream_finding(StreamStatus(pose_state="tracking", map_id=3))[0] == OK
