# SPDX-License-Identifier: Apache-2.0
"""Distance of a camera from the floor by its depth: the lowest level surface of some size."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
SIDE = 80
"""Approximate number of rows or columns to which points are thinned."""
HORIZON = np.sin(np.deg2rad(5))
"""Sine of the least angle of floor points below the horizon."""
MOST_TILT = np.cos(np.deg2rad(15))
"""Cosine of the largest angle between the floor's normal and gravity, which may be inexact."""
ROUGH_TILT = np.cos(np.deg2rad(35))
"""Cosine of the largest angle for the surface around single points, whose normals are noisy."""
THICKNESS = 0.05
"""Largest distance of a point from its plane, relative to the distance of the plane."""
TRIES = 200
REFINEMENTS = 3
LEAST_SHARE = 0.04
"""Least share of the image that a surface must fill."""


def floor_distance(points: Array, down: Array) -> float | None:
    """Return the camera's distance from the floor in the unit of the points; None if no floor is
    visible.

    points: (H, W, 3) in the camera's axes, not finite if unknown. down: (3,) unit vector, the
    direction of gravity in those axes. Tables are level too and may fill more of the image: the
    floor is the lowest level surface that fills enough of it.
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
    """Return points (N, 3) below the horizon with a level surface around them."""
    across, along = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    normals, inner = np.cross(across, along), points[1:-1, 1:-1]
    is_level = abs(normals @ down) > ROUGH_TILT * np.linalg.norm(normals, axis=-1)
    is_below = inner @ down > HORIZON * np.linalg.norm(inner, axis=-1)
    return np.asarray(inner[is_level & is_below])


def _planes_through(points: Array, down: Array) -> Array:
    """Return the roughly level planes (planes, 4) through random triples of points."""
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
    """Return the planes with at least `least` points. Each point counts for one plane only, the one
    with most points, so that no plane that cuts several surfaces is counted."""
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
    """Return (points, planes), True if a point belongs to a plane."""
    return np.asarray(abs(points @ planes[:, :3].T / planes[:, 3] - 1) < THICKNESS)


def _fitted(points: Array) -> Array:
    """Return the least-squares plane (4,) with its normal away from the origin."""
    centre = points.mean(axis=0)
    normal = np.linalg.svd(points - centre, full_matrices=False)[2][2]
    normal = normal * np.sign(normal @ centre)
    return np.append(normal, normal @ centre)
