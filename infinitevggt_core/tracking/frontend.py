# SPDX-License-Identifier: Apache-2.0
"""Corners spread over the image, and their way from one image to the next."""

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.config import TrackingConfig

Floats = NDArray[np.float64]
Gray = NDArray[np.uint8]
COLUMNS, ROWS = 8, 6
LEAST_EIGENVALUE = 2e-5
WEAK_EIGENVALUE = 1e-4
"""Eigenvalue of the structure tensor at which the variance of a corner's place is doubled."""
BORDER_PX, APART_PX, LK_PX, RETURN_PX = 8.0, 6.0, 15.0, 1.0
LEVELS = 3
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.02)


class Frontend:
    """Detection and pyramidal Lucas-Kanade tracking of corners. Holds no images."""

    def __init__(self, config: TrackingConfig) -> None:
        self.config = config

    def track(
        self, before: Gray, now: Gray, pixels: Floats, guess: Floats
    ) -> tuple[Floats, Floats]:
        """Follow corners from one image to the next, and back.

        pixels: (N, 2) in `before`; guess: (N, 2), where they are expected. Returns where they are,
        (N, 2), NaN where lost, and how far the way back missed its start, (N,), px.
        """
        if not len(pixels):
            return np.empty((0, 2)), np.empty(0)
        unit = now.shape[1] / 320
        by_area = (now.size / (320 * 240)) ** 0.5  # a wide image needs no larger window
        side = max(2 * round(LK_PX * by_area / 2 - 0.5) + 1, 7)
        options: dict[str, Any] = {
            "winSize": (side, side),
            "maxLevel": LEVELS - 1,
            "criteria": STOP,
            "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
        }
        start = pixels.astype(np.float32).reshape(-1, 1, 2)
        first = guess.astype(np.float32).reshape(-1, 1, 2)
        there, found, _ = cv2.calcOpticalFlowPyrLK(before, now, start, first.copy(), **options)
        back, returned, _ = cv2.calcOpticalFlowPyrLK(now, before, there, start.copy(), **options)
        miss = np.linalg.norm((back - start).reshape(-1, 2), axis=1).astype(np.float64)
        place = there.reshape(-1, 2).astype(np.float64)
        good = (found.ravel() == 1) & (returned.ravel() == 1) & (miss < RETURN_PX * unit)
        good &= _inside(place, now.shape, 2.0)
        place[~good] = np.nan
        return place, miss

    def whitening(self, gray: Gray, pixels: Floats) -> Floats:
        """Return matrices (N, 2, 2) that make errors of tracked corners alike in all directions.

        A corner on an edge slides along it: its error there is divided by more. Errors of a strong
        corner stay as they are.
        """
        if not len(pixels):
            return np.empty((0, 2, 2))
        side = max(round(LK_PX * gray.shape[1] / 320), 5)
        tensor = cv2.cornerEigenValsAndVecs(gray, side, 3)
        place = np.clip(pixels.round().astype(np.int64), 0, (gray.shape[1] - 1, gray.shape[0] - 1))
        rows = tensor[place[:, 1], place[:, 0]].astype(np.float64)
        weight = 1 / np.sqrt(1 + WEAK_EIGENVALUE / np.maximum(rows[:, :2], 1e-12))
        axes = rows[:, 2:].reshape(-1, 2, 2)  # one direction a row
        return cast(Floats, np.einsum("nki,nk,nkj->nij", axes, weight, axes))

    def detect(self, gray: Gray, taken: Floats) -> Floats:
        """Return new corners (N, 2), away from those that are followed already (M, 2).

        The strongest of each cell of a grid come first, so that no part of the image is left out.
        """
        unit = gray.shape[1] / 320
        wanted = self.config.corners - len(taken)
        if wanted <= 0:
            return np.empty((0, 2))
        strength = cv2.cornerMinEigenVal(gray, 3)
        peak = (strength >= cv2.dilate(strength, np.ones((3, 3)))) & (strength > LEAST_EIGENVALUE)
        border = max(round(BORDER_PX * unit), 1)
        peak[:border], peak[-border:], peak[:, :border], peak[:, -border:] = (False,) * 4
        rows, columns = np.nonzero(peak)
        order = np.argsort(-strength[rows, columns], kind="stable")[: 8 * self.config.corners]
        candidates = np.stack((columns[order], rows[order]), axis=1)
        return self._spread(candidates, taken, gray.shape, unit)

    def _spread(
        self, candidates: NDArray[np.int64], taken: Floats, shape: tuple[int, ...], unit: float
    ) -> Floats:
        """Choose corners cell by cell, then the strongest of the rest; (K, 2), strongest first."""
        free = np.full(shape[:2], 255, np.uint8)
        apart = max(round(APART_PX * unit), 1)
        for u, v in taken.round().astype(int):
            cv2.circle(free, (int(u), int(v)), apart, 0, -1)
        quota = -(-self.config.corners // (COLUMNS * ROWS))
        count = np.bincount(_cell(taken, shape), minlength=COLUMNS * ROWS)
        wanted = self.config.corners - len(taken)
        chosen: list[tuple[int, int]] = []
        left: list[int] = []
        cells = _cell(candidates.astype(np.float64), shape)

        def choose(index: int) -> None:
            u, v = (int(x) for x in candidates[index])
            if free[v, u]:
                cv2.circle(free, (u, v), apart, 0, -1)
                chosen.append((u, v))
                count[cells[index]] += 1

        for index in range(len(candidates)):
            if len(chosen) >= wanted:
                break
            if count[cells[index]] < quota:
                choose(index)
            else:
                left.append(index)
        for index in left:
            if len(chosen) >= wanted:
                break
            choose(index)
        return np.array(chosen, np.float64).reshape(-1, 2)


def _cell(pixels: Floats, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the number of the cell that each of (N, 2) pixels lies in."""
    size = np.array([shape[1], shape[0]])
    place = (pixels / size * (COLUMNS, ROWS)).astype(np.int64)
    place = np.clip(place, 0, (COLUMNS - 1, ROWS - 1))
    return cast("NDArray[np.int64]", place[:, 1] * COLUMNS + place[:, 0])


def _inside(pixels: Floats, shape: tuple[int, ...], margin: float) -> NDArray[np.bool_]:
    limit = np.array([shape[1], shape[0]]) - 1 - margin
    return cast("NDArray[np.bool_]", ((pixels >= margin) & (pixels <= limit)).all(1))
