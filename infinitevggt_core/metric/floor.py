# SPDX-License-Identifier: Apache-2.0
"""The floor before a camera, found in its depth: the lowest level surface of some size."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
SIDE = 80
"""Points are thinned to about so many rows or columns."""
HORIZON = np.sin(np.deg2rad(5))
"""Below it, by this sine at least, lies what may be floor."""
MOST_TILT = np.cos(np.deg2rad(15))
"""Cosine between the floor's normal and gravity: the direction of gravity may be off by so much."""
ROUGH_TILT = np.cos(np.deg2rad(35))
"""The same of the surface around single points, which depth noise turns."""
THICKNESS = 0.05
"""Points this near to the plane, relative to its distance, are of it."""
TRIES = 200
REFINEMENTS = 3
LEAST_SHARE = 0.04
"""Of the image that a surface must fill."""


def floor_distance(points: Array, down: Array) -> float | None:
    """Of the camera from the floor, in the unit of the points; None where no floor is seen.

    points: (H, W, 3) in the camera's axes, not finite where not known. down: (3,) unit vector, the
    direction of gravity in those axes. Tables are level too, and may fill more of the image: of all
    level surfaces the lowest counts that fills enough of it.
    """
    step = max(1, min(points.shape[:2]) // SIDE)
    points = points[::step, ::step].astype(np.float64)
    points[~np.isfinite(points)] = np.nan
    level = _level_points(points, down)
    least = LEAST_SHARE * points.shape[0] * points.shape[1]
    if len(level) < max(3, least):
        return None
    surfaces = _surfaces(level, _planes_through(level, down), least)
    if not surfaces:
        return None
    lowest = max(surfaces, key=lambda plane: float(plane[3]))
    for _ in range(REFINEMENTS):
        lowest = _fitted(level[_near(level, lowest[None])[:, 0]])
    return float(lowest[3])


def _level_points(points: Array, down: Array) -> Array:
    """(N, 3): points below the horizon with a level surface around them."""
    across, along = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    normals, inner = np.cross(across, along), points[1:-1, 1:-1]
    is_level = abs(normals @ down) > ROUGH_TILT * np.linalg.norm(normals, axis=-1)
    is_below = inner @ down > HORIZON * np.linalg.norm(inner, axis=-1)
    return np.asarray(inner[is_level & is_below])


def _planes_through(points: Array, down: Array) -> Array:
    """(planes, 4): through random triples of points, as far as they are about level."""
    triples = points[np.random.default_rng(0).integers(len(points), size=(TRIES, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    normals, triples = normals[lengths > 0], triples[lengths > 0]
    normals *= (np.sign(normals @ down) / lengths[lengths > 0])[:, None]
    distances = (normals * triples[:, 0]).sum(axis=1)
    is_level = (normals @ down > MOST_TILT) & (distances > 0)
    planes: Array = np.column_stack((normals, distances))[is_level]
    return planes


def _surfaces(points: Array, planes: Array, least: float) -> list[Array]:
    """Of (planes, 4), those with at least so many points, each of which counts for the fullest of
    its planes only: else one that cuts through several surfaces passes for one."""
    near = _near(points, planes)
    found: list[Array] = []
    while len(planes):
        counts = near.sum(axis=0)
        best = counts.argmax()
        if counts[best] < least:
            break
        found.append(planes[best])
        near[near[:, best]] = False
    return found


def _near(points: Array, planes: Array) -> NDArray[np.bool_]:
    """(points, planes): which point belongs to which plane."""
    return np.asarray(abs(points @ planes[:, :3].T / planes[:, 3] - 1) < THICKNESS)


def _fitted(points: Array) -> Array:
    """(4,): the plane of the least squares of distances, away from the origin."""
    centre = points.mean(axis=0)
    normal = np.linalg.svd(points - centre, full_matrices=False)[2][2]
    normal = normal * np.sign(normal @ centre)
    return np.append(normal, normal @ centre)
