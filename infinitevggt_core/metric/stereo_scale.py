# SPDX-License-Identifier: Apache-2.0
"""Metres per unit of a tracker, from two cameras that see its points at the same time."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Gray = NDArray[np.uint8]

FEWEST, MOST = 15, 200
"""Points that must lie in both images, and points that are compared."""
_SCALES = np.geomspace(0.01, 100.0, 240)
"""Candidates; neighbours differ by 4 %."""
_PATCH = 9
"""Side of the compared patches, px."""
_LIKENESS, _MARGIN = 0.6, 0.1
"""Smallest correlation of the best candidate, and its lead over those that differ by more than
_APART."""
_APART = 0.25
_SHIFT_PX = 2.0
"""Median shift of the points, from infinitely far to the best candidate; less says nothing."""
_PIXEL = 0.5
"""Standard deviation of a match that all points share, px."""


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedView:
    """Rectified image of one camera."""

    gray: Gray
    """(H, W)."""
    intrinsics: Array
    """(3, 3), px."""


def stereo_scale(
    one: CalibratedView, other: CalibratedView, other_from_one: Array, pixels: Array, depths: Array
) -> tuple[float, float] | None:
    """Return metres per unit and its relative standard deviation; None if the images do not tell.

    Each candidate scale puts the points somewhere into the other image; at the true one, the
    patches around them look as in the first image.

    other_from_one: (3, 4), metres. pixels: (N, 2) of points in `one`. depths: (N,), unit of the
    tracker.
    """
    chosen = np.arange(0, len(pixels), max(1, -(-len(pixels) // MOST)))
    pixels, depths = pixels[chosen], depths[chosen]
    rays = np.column_stack((pixels, np.ones(len(pixels)))) @ np.linalg.inv(one.intrinsics).T
    points = depths[:, None] * rays
    places = np.stack(
        [_project(scale * points, other_from_one, other.intrinsics) for scale in _SCALES]
    )  # (S, N, 2)
    inside = _inside(places, other.gray) & _inside(pixels, one.gray)
    counts = inside.sum(axis=1)
    if counts.max(initial=0) < FEWEST:
        return None
    likeness = _likeness(_patches(one.gray, pixels), _patches(other.gray, places))
    score = np.where(inside, likeness, 0.0).sum(axis=1) / np.maximum(counts, FEWEST)
    best = int(score.argmax())
    apart = np.abs(np.log(_SCALES / _SCALES[best])) > _APART
    if score[best] < _LIKENESS or score[best] < score[apart].max() + _MARGIN:
        return None
    seen = inside[best]
    shift = np.linalg.norm(places[best] - places[-1], axis=1)[seen]
    if np.median(shift) < _SHIFT_PX:
        return None
    return float(_SCALES[best] * _refined(score, best)), _PIXEL / float(np.median(shift))


def _project(points: Array, other_from_one: Array, intrinsics: Array) -> Array:
    moved = points @ other_from_one[:, :3].T + other_from_one[:, 3]
    pixels = moved @ intrinsics.T
    with np.errstate(divide="ignore", invalid="ignore"):
        found = pixels[:, :2] / pixels[:, 2:]
    return np.where(moved[:, 2:] > 1e-6, found, -1e6)


def _inside(places: Array, gray: Gray) -> NDArray[np.bool_]:
    rim = _PATCH // 2 + 1
    limits = np.array([gray.shape[1] - rim, gray.shape[0] - rim])
    return np.asarray(((places >= rim) & (places < limits)).all(axis=-1))


def _patches(gray: Gray, places: Array) -> Array:
    """Return patches (..., _PATCH ** 2) around places (..., 2)."""
    steps = np.arange(_PATCH) - _PATCH // 2
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    at = (places[..., None, :] + offsets).clip(-1e4, 1e4).astype(np.float32)
    at = at.reshape(-1, places.shape[-2] * len(offsets), 2)  # (S, N * P): OpenCV limits each side
    values = cv2.remap(gray, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
    return values.reshape(*places.shape[:-1], -1).astype(np.float64)


def _likeness(known: Array, found: Array) -> Array:
    """Return the correlation (S, N) of patches (N, P) with patches (S, N, P)."""
    known = known - known.mean(axis=-1, keepdims=True)
    found = found - found.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(known, axis=-1) * np.linalg.norm(found, axis=-1)
    return np.asarray((known * found).sum(axis=-1) / np.maximum(length, 1e-6))


def _refined(score: Array, best: int) -> float:
    """Return the factor from the best candidate to the vertex of a parabola through three."""
    if not 0 < best < len(score) - 1:
        return 1.0
    before, here, after = score[best - 1 : best + 2]
    bend = before - 2 * here + after
    offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float((_SCALES[1] / _SCALES[0]) ** np.clip(offset, -1, 1))
