# SPDX-License-Identifier: Apache-2.0
"""Markers of keyframes, loops, tracked points and uncertainty."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.map_axes import MapFromWorld
from infinitevggt_ros.output.covariance import UNKNOWN
from infinitevggt_ros.output.markers import (
    KEYFRAMES,
    LOOPS,
    MOST_KEYFRAMES,
    POINTS,
    UNCERTAINTY,
    TrackedScene,
    lines_of,
    marker_array,
    no_markers,
)
from infinitevggt_ros.viewer.local import LocalViewer
from infinitevggt_ros.viewer.options import ViewerOptions


def scene(count: int = 3, **changes: Any) -> TrackedScene:
    """Return keyframes one unit apart along the camera's z axis, with a loop from last to first."""
    poses = np.tile(np.eye(3, 4), (count, 1, 1))
    poses[:, 2, 3] = np.arange(count)
    parts: dict[str, Any] = {
        "keyframes": poses,
        "loops": np.array([[poses[-1, :, 3], poses[0, :, 3]]]),
        "points": np.array([[0.0, 0.0, 5.0], [1.0, 0.0, 5.0]]),
        "position": np.array([0.0, 0.0, 2.0]),
        "covariance": np.diag([1e-4, 4e-4, 9e-4]),
    }
    return TrackedScene(**{**parts, **changes})


def kinds(message: MarkerArray) -> dict[str, Marker]:
    return {marker.ns: marker for marker in message.markers}


def positions(marker: Marker) -> np.ndarray:
    return np.array([(p.x, p.y, p.z) for p in marker.points])


def test_markers_are_in_the_axes_and_the_unit_of_the_map() -> None:
    placement = MapFromWorld().rescaled(2.0, np.zeros(3))
    shown = kinds(marker_array(scene(), placement, Header(frame_id="map")))
    assert {marker.header.frame_id for marker in shown.values()} == {"map"}
    # forward in the camera is x of the map; right in the camera is -y
    np.testing.assert_allclose(positions(shown[POINTS]), [[10, 0, 0], [10, -2, 0]], atol=1e-12)
    np.testing.assert_allclose(positions(shown[LOOPS]), [[4, 0, 0], [0, 0, 0]], atol=1e-12)
    assert len(shown[KEYFRAMES].points) == 3 * 16
    tips = positions(shown[KEYFRAMES])[0::16]
    np.testing.assert_allclose(tips, [[0, 0, 0], [2, 0, 0], [4, 0, 0]], atol=1e-12)


def test_the_ellipsoid_has_the_axes_of_the_covariance() -> None:
    turn = Rotation.from_euler("xyz", (0.3, -0.5, 1.0)).as_matrix()
    covariance = turn @ np.diag([1e-4, 4e-4, 9e-4]) @ turn.T
    placement = MapFromWorld()
    shown = kinds(marker_array(scene(covariance=covariance), placement, Header()))[UNCERTAINTY]
    q, size = shown.pose.orientation, shown.scale
    axes = Rotation.from_quat((q.x, q.y, q.z, q.w)).as_matrix()
    found = axes @ np.diag(np.square([size.x / 4, size.y / 4, size.z / 4])) @ axes.T
    expected = placement.rotation @ covariance @ placement.rotation.T
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)
    assert shown.pose.position.x == pytest.approx(2)


def test_what_is_empty_or_unknown_is_removed() -> None:
    nothing = scene(
        1,
        loops=np.empty((0, 2, 3)),
        points=np.full((1, 3), np.nan),
        covariance=UNKNOWN * np.eye(3),
    )
    shown = kinds(marker_array(nothing, MapFromWorld(), Header()))
    actions = {name: marker.action for name, marker in shown.items()}
    assert actions.pop(KEYFRAMES) == Marker.ADD
    assert set(actions.values()) == {Marker.DELETE}
    assert no_markers(Header()).markers[0].action == Marker.DELETEALL


def test_a_long_stream_shows_a_bounded_number_of_keyframes() -> None:
    shown = kinds(marker_array(scene(3000), MapFromWorld(), Header()))
    assert MOST_KEYFRAMES / 2 <= len(shown[KEYFRAMES].points) / 16 <= MOST_KEYFRAMES


def test_the_page_gets_the_same_lines_with_and_without_ros() -> None:
    message = marker_array(scene(), MapFromWorld(), Header())
    by_topic = [lines_of(message.markers, kind) for kind in (KEYFRAMES, LOOPS)]
    shown: list[Any] = []
    page: Any = SimpleNamespace(show_graph=lambda *lines: shown.append(lines))
    poses = {k: Similarity3.from_rigid(pose) for k, pose in enumerate(scene().keyframes)}
    LocalViewer(page, ViewerOptions()).show_graph(poses, [(2, 0)])
    for one, other in zip(by_topic, shown[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
