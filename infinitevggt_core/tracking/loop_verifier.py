# SPDX-License-Identifier: Apache-2.0
"""Geometry decides whether a view shows a place: matches, a pose from points, a scale."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.loop_edge import LoopEdge
from infinitevggt_core.tracking.place import Place
from infinitevggt_core.tracking.similarity import Floats, Similarity3
from infinitevggt_core.tracking.vocabulary import Bytes

Rows = NDArray[np.int64]
REFERENCE_WIDTH = 320
"""Lengths in pixels are for this width of the image, and grow with it."""
RANSAC_STEPS = 60
CONFIDENCE = 0.999
REFINEMENTS = 5
HUBER_PX = 1.5
MAD_TO_SIGMA = 1.4826
INDEPENDENT = 15
"""Independent errors among the depths of one view."""
BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.int64)
"""Bits that are set in a byte."""
SAME_VIEW_INLIERS = 40
SAME_VIEW_SHIFT = 0.15
"""Way between two cameras that see the same, as a share of the points' distance."""
SAME_VIEW_TURN = 0.2
"""Angle between two cameras that see the same, rad."""


@dataclass(frozen=True, slots=True)
class LoopRules:
    """When a view shows a place, and how much is believed then."""

    ratio: float = 0.8
    """Bits that differ from the best match / from the second best, at most."""
    matches: int = 20
    """Fewer are not looked at."""
    tried: int = 4
    """Places with most matches, whose geometry is looked at."""
    explained: float = 0.5
    """Share of the matches that one pose explains."""
    inliers: int = 20
    found: float = 0.2
    """Share of the points that project into the view, that are found in it."""
    reprojection_px: float = 3.0
    guided_px: float = 6.0
    """Radius in which further matches are looked for."""
    guided_bits: int = 64
    """Bits that may differ in them."""
    spread: float = 0.15
    """Share of the image's height that the inliers cover, in both directions."""
    turn_sigma: float = 0.02
    """Rotation, rad."""
    shift_sigma: float = 0.05
    """Share of the way between the two cameras, or of a fifth of the points' distance."""
    scale_sigma: float = 0.02
    """Least standard deviation of the log scale."""
    ratios: int = 8
    """Depths on both sides, below which the scale is not known."""
    most_turn_std: float = 0.03
    """Standard deviation of the pose's turn, rad, with errors of 1 px."""


class LoopVerifier:
    """Compares the corners of two places."""

    def __init__(self, rules: LoopRules | None = None) -> None:
        self.rules = rules or LoopRules()

    def search(self, places: list[Place], view: Place, enough: int = 2) -> list[LoopEdge]:
        """Loops to the places with most matches, best first.

        enough: loops after which no further place is looked at.
        """
        matches = [self._matches(place, view) for place in places]
        order = sorted(range(len(places)), key=lambda k: -len(matches[k][0]))
        found: list[LoopEdge] = []
        for k in order[: self.rules.tried]:
            loop = self._verify(places[k], view, *matches[k])
            if loop is not None:
                found.append(loop)
            if len(found) >= enough:
                break
        return sorted(found, key=lambda loop: -loop.inliers)

    def verify(self, place: Place, view: Place) -> LoopEdge | None:
        """The loop from an old place with depths to a new view, or None where it shows another."""
        return self._verify(place, view, *self._matches(place, view))

    def _matches(self, place: Place, view: Place) -> tuple[Rows, Rows]:
        """Corners of the place that have a depth, and those of the view that look like them."""
        known = np.flatnonzero(place.has_depth)
        old, new = match(place.descriptors[known], view.descriptors, self.rules.ratio)
        return known[old], new

    def _verify(self, place: Place, view: Place, old: Rows, new: Rows) -> LoopEdge | None:
        rules, unit = self.rules, self._unit(view)
        if len(old) < rules.matches:
            return None
        points, pixels = place.points, view.pixels.astype(np.float64)
        threshold = rules.reprojection_px * unit
        pose = _ransac(points[old], pixels[new], view.intrinsics, threshold)
        if pose is None:
            return None
        explained = _reprojection(pose, points[old], pixels[new], view.intrinsics) < threshold
        if explained.sum() < rules.explained * len(old):
            return None
        old, new = old[explained], new[explained]
        pose, _ = _refine(pose, points[old], pixels[new], view.intrinsics, unit)
        old, new, visible = self._guided(pose, place, view)
        if len(old) < rules.inliers:
            return None
        pose, information = _refine(pose, points[old], pixels[new], view.intrinsics, unit)
        good = _reprojection(pose, points[old], pixels[new], view.intrinsics) < threshold
        old, new = old[good], new[good]
        enough = len(old) >= max(rules.inliers, rules.found * visible)
        if not enough or not self._is_spread(pixels[new], view):
            return None
        return self._edge(place, view, pose, information, old, new)

    def same_view(self, place: Place, view: Place) -> bool:
        """Tell whether two places are so near each other that one of them suffices."""
        loop = self.verify(place, view)
        if loop is None or loop.inliers < SAME_VIEW_INLIERS:
            return False
        way = float(np.linalg.norm(loop.relative.translation))
        turn = float(np.linalg.norm(loop.relative.log()[:3]))
        distance = float(np.nanmedian(place.depth))
        return way < SAME_VIEW_SHIFT * distance and turn < SAME_VIEW_TURN

    def _unit(self, view: Place) -> float:
        """Pixels here per pixel of an image of the reference width."""
        return float(view.intrinsics[0, 2]) * 2 / REFERENCE_WIDTH

    def _guided(self, pose: Floats, place: Place, view: Place) -> tuple[Rows, Rows, int]:
        """All corners that agree with a pose, near where the points project, and alike; and how
        many points project into the image."""
        rows = np.flatnonzero(place.has_depth)
        placed = place.points[rows] @ pose[:, :3].T + pose[:, 3]
        ahead = placed[:, 2] > 1e-6
        rows, placed = rows[ahead], placed[ahead] @ view.intrinsics.T
        projected = (placed[:, :2] / placed[:, 2:]).astype(np.float32)
        radius = self.rules.guided_px * self._unit(view)
        size = 2 * view.intrinsics[0, 2], view.height
        visible = (projected > radius).all(axis=1) & (projected < np.subtract(size, radius)).all(1)
        rows, projected = rows[visible], projected[visible]
        near = np.abs(projected[:, :1] - view.pixels[:, 0]) < radius  # (N, M)
        near &= np.abs(projected[:, 1:] - view.pixels[:, 1]) < radius
        one, other = np.nonzero(near)
        one = rows[one]
        bits = BITS[place.descriptors[one] ^ view.descriptors[other]].sum(axis=1)
        order = np.argsort(bits, kind="stable")
        order = order[bits[order] <= self.rules.guided_bits]
        one, other = one[order], other[order]
        best = np.zeros((2, len(one)), dtype=np.bool_)
        best[0, np.unique(one, return_index=True)[1]] = True
        best[1, np.unique(other, return_index=True)[1]] = True
        return one[best.all(axis=0)], other[best.all(axis=0)], len(rows)

    def _is_spread(self, pixels: Floats, view: Place) -> bool:
        low, high = np.percentile(pixels, (5, 95), axis=0)
        return bool((high - low >= self.rules.spread * view.height).all())

    def _edge(
        self, place: Place, view: Place, pose: Floats, information: Floats, old: Rows, new: Rows
    ) -> LoopEdge | None:
        """The loop, unless the points leave the turn open."""
        rules = self.rules
        spread = np.linalg.pinv(information)
        if np.sqrt(np.diagonal(spread)[:3].max()) > rules.most_turn_std:
            return None
        placed = place.points[old] @ pose[:, :3].T + pose[:, 3]
        scale, scale_sigma = self._scale(placed[:, 2], view.depth[new].astype(np.float64))
        relative = Similarity3.from_rigid(pose).inverse() @ Similarity3(
            np.array(scale), np.eye(3), np.zeros(3)
        )
        way = max(float(np.linalg.norm(pose[:, 3])), 0.2 * float(np.median(placed[:, 2])))
        sigmas = np.array([rules.turn_sigma] * 3 + [rules.shift_sigma * way] * 3)
        covariance = np.zeros((7, 7))
        covariance[:6, :6] = spread + np.diag(np.square(sigmas))
        covariance[3:6] /= scale
        covariance[:, 3:6] /= scale
        covariance[6, 6] = scale_sigma**2
        return LoopEdge(place.index, view.index, relative, covariance, len(old))

    def _scale(self, expected: Floats, measured: Floats) -> tuple[float, float]:
        """Units of the place per unit of the view, and the deviation of its logarithm."""
        known = np.isfinite(measured) & (measured > 0)
        if known.sum() < self.rules.ratios:
            return 1.0, 1.0
        ratios = np.log(expected[known] / measured[known])
        middle = float(np.median(ratios))
        spread = MAD_TO_SIGMA * float(np.median(np.abs(ratios - middle)))
        sigma = spread / np.sqrt(min(int(known.sum()), INDEPENDENT))
        return float(np.exp(middle)), float(max(sigma, self.rules.scale_sigma))


def match(one: Bytes, other: Bytes, ratio: float) -> tuple[Rows, Rows]:
    """Rows of descriptors (N, 32) and (M, 32) that are each other's best, clearly."""
    nothing = np.zeros(0, dtype=np.int64)
    if len(one) < 2 or len(other) < 2:
        return nothing, nothing
    bits, best = cv2.batchDistance(one, other, dtype=cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2)
    rows = np.arange(len(one))
    clear = np.flatnonzero(bits[:, 0] < ratio * bits[:, 1])
    if not len(clear):
        return nothing, nothing
    wanted = best[clear, 0]
    _, back = cv2.batchDistance(
        other[wanted], one, dtype=cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1
    )
    mutual = back[:, 0] == rows[clear]
    return clear[mutual].astype(np.int64), wanted[mutual].astype(np.int64)


def _ransac(points: Floats, pixels: Floats, intrinsics: Floats, threshold: float) -> Floats | None:
    """(3, 4): pose of the camera that sees points (N, 3) at pixels (N, 2), or None."""
    try:
        found, turn, shift, _ = cv2.solvePnPRansac(
            points[:, None],
            pixels[:, None],
            intrinsics,
            np.zeros(4),
            iterationsCount=RANSAC_STEPS,
            reprojectionError=threshold,
            confidence=CONFIDENCE,
            flags=cv2.SOLVEPNP_AP3P,
        )
    except cv2.error:
        return None
    if not found or not np.isfinite(turn).all() or not np.isfinite(shift).all():
        return None
    return np.hstack((cv2.Rodrigues(turn)[0], shift))


def _reprojection(pose: Floats, points: Floats, pixels: Floats, intrinsics: Floats) -> Floats:
    """(N,): distances in pixels; infinite behind the camera."""
    placed = (points @ pose[:, :3].T + pose[:, 3]) @ intrinsics.T
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.linalg.norm(placed[:, :2] / placed[:, 2:] - pixels, axis=1)
    return np.asarray(np.where(placed[:, 2] > 0, away, np.inf))


def _refine(
    pose: Floats, points: Floats, pixels: Floats, intrinsics: Floats, unit: float
) -> tuple[Floats, Floats]:
    """The pose (3, 4) with least robust errors, and its information (6, 6), rad and length.

    Deviations are in the axes of the camera; errors of a pixel of the reference width are 1.
    """
    focal = np.array([intrinsics[0, 0], intrinsics[1, 1]])
    information = np.zeros((6, 6))
    for _ in range(REFINEMENTS):
        placed = points @ pose[:, :3].T + pose[:, 3]
        depth = np.maximum(placed[:, 2], 1e-6)
        image = placed @ intrinsics.T
        errors = (image[:, :2] / depth[:, None] - pixels) / unit
        away = np.linalg.norm(errors, axis=1)
        weights = np.where(placed[:, 2] > 1e-6, np.minimum(1, HUBER_PX / np.maximum(away, 1e-9)), 0)
        x, y = placed[:, 0] / depth, placed[:, 1] / depth
        jacobian = np.empty((2, 6, len(points)))
        jacobian[0] = -x * y, 1 + x * x, -y, 1 / depth, 0 * x, -x / depth
        jacobian[1] = -1 - y * y, x * y, x, 0 * x, 1 / depth, -y / depth
        jacobian *= (focal / unit)[:, None, None]
        weighted = (jacobian * weights).transpose(1, 0, 2).reshape(6, -1)
        information = weighted @ jacobian.transpose(1, 0, 2).reshape(6, -1).T
        right = weighted @ errors.T.ravel()
        step = -np.linalg.solve(information + 1e-9 * np.eye(6), right)
        turned = cv2.Rodrigues(step[:3])[0] @ pose
        turned[:, 3] += step[3:]
        pose = turned
        if np.abs(step).max() < 1e-6:
            break
    return pose, information
