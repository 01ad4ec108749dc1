# SPDX-License-Identifier: Apache-2.0
"""Markers of the map's keyframes, loops, tracked points and uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from infinitevggt_ros.map_axes import MapFromWorld
from infinitevggt_ros.output.covariance import UNKNOWN
from infinitevggt_ros.output.pyramids import SIZE_SHARE, pyramid_lines

KEYFRAMES, LOOPS, POINTS, UNCERTAINTY = "keyframes", "loops", "points", "uncertainty"
"""Namespaces of the markers; each has one marker, of number 0."""
MOST_KEYFRAMES, MOST_LOOPS = 500, 1000
"""Keyframes, evenly chosen, and latest loops that are shown."""
COLORS = {
    KEYFRAMES: (1.0, 0.84, 0.4, 0.9),
    LOOPS: (0.25, 0.75, 0.34, 1.0),
    POINTS: (0.3, 0.75, 1.0, 1.0),
    UNCERTAINTY: (0.9, 0.4, 0.9, 0.35),
}
SIGMAS = 2.0
"""Half of an axis of the ellipsoid, standard deviations."""
LINES_OF_A_KEYFRAME = 8
"""Lines of a keyframe's pyramid; the first one begins at the camera."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TrackedScene:
    """Contents of the markers, in the stream's world and unit, OpenCV axes."""

    keyframes: Floats
    """World_from_camera (K, 3, 4), in order."""
    loops: Floats
    """Both ends (L, 2, 3) of each loop closure."""
    points: Floats
    """Tracked points (N, 3) of the latest image."""
    position: Floats
    """Position (3,) of the camera."""
    covariance: Floats
    """Covariance (3, 3) of the position."""


def marker_array(scene: TrackedScene, placement: MapFromWorld, header: Header) -> MarkerArray:
    """Return one marker of each kind; what is empty or unknown is deleted."""
    centers = in_map(scene.keyframes[:, :, 3], placement)
    step = (
        float(np.median(np.linalg.norm(np.diff(centers, axis=0), axis=1)))
        if centers[1:].size
        else 0
    )
    size = SIZE_SHARE * step or 0.05 * placement.scale
    chosen = scene.keyframes[:: 1 + (len(scene.keyframes) - 1) // MOST_KEYFRAMES]
    pyramids = in_map(pyramid_lines(chosen, size / placement.scale), placement)
    loops = in_map(scene.loops[-MOST_LOOPS:].reshape(-1, 3), placement)
    points = in_map(scene.points, placement)
    return MarkerArray(
        markers=[
            _marker(header, KEYFRAMES, Marker.LINE_LIST, 0.05 * size, pyramids),
            _marker(header, LOOPS, Marker.LINE_LIST, 0.15 * size, loops),
            _marker(header, POINTS, Marker.POINTS, 0.15 * size, points),
            _ellipsoid(header, scene, placement),
        ]
    )


def no_markers(header: Header) -> MarkerArray:
    """Return the message that removes all markers."""
    return MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])


def in_map(points: Floats, placement: MapFromWorld) -> Floats:
    """Return points (N, 3) of the stream's world in the map."""
    return np.asarray(placement.scale * points @ placement.rotation.T + placement.origin)


def lines_of(markers: Sequence[Marker], namespace: str) -> NDArray[np.float32]:
    """Return both ends (N, 2, 3) of the lines of one kind."""
    points = [p for marker in markers if marker.ns == namespace for p in marker.points]
    rows = np.array([(p.x, p.y, p.z) for p in points], np.float32)
    return rows.reshape(-1, 2, 3)


def _marker(header: Header, namespace: str, kind: int, width: float, points: Floats) -> Marker:
    """Return a marker of lines or points; one that deletes where there are none."""
    marker = Marker(header=header, ns=namespace, type=kind, color=_color(namespace))
    finite = points[np.isfinite(points).all(axis=1)] if kind == Marker.POINTS else points
    marker.action = Marker.ADD if len(finite) else Marker.DELETE
    marker.scale = Vector3(x=width, y=width, z=width)
    marker.pose.orientation.w = 1.0
    marker.points = [Point(x=x, y=y, z=z) for x, y, z in finite.tolist()]
    return marker


def _ellipsoid(header: Header, scene: TrackedScene, placement: MapFromWorld) -> Marker:
    """Return the ellipsoid of two standard deviations of the camera's position."""
    turned = placement.rotation @ scene.covariance @ placement.rotation.T
    squares, axes = np.linalg.eigh(np.nan_to_num(placement.scale**2 * turned, nan=UNKNOWN))
    marker = Marker(header=header, ns=UNCERTAINTY, type=Marker.SPHERE, color=_color(UNCERTAINTY))
    is_known = bool(squares[-1] < UNKNOWN and np.isfinite(scene.position).all())
    marker.action = Marker.ADD if is_known else Marker.DELETE
    if is_known:
        axes[:, 0] *= np.sign(np.linalg.det(axes))
        x, y, z, w = Rotation.from_matrix(axes).as_quat().tolist()
        px, py, pz = in_map(scene.position[None], placement)[0].tolist()
        marker.pose = Pose(
            position=Point(x=px, y=py, z=pz), orientation=Quaternion(x=x, y=y, z=z, w=w)
        )
        sx, sy, sz = (2 * SIGMAS * np.sqrt(np.maximum(squares, 0)) + 1e-6).tolist()
        marker.scale = Vector3(x=sx, y=sy, z=sz)
    return marker


def _color(namespace: str) -> ColorRGBA:
    red, green, blue, alpha = COLORS[namespace]
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)
