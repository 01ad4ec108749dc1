# SPDX-License-Identifier: Apache-2.0
"""Draw one picture of a run: map, trajectory, truth, an image and its depth."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_ros.demo.recording import Recording
from infinitevggt_ros.evaluation.picture import map_from_above

MOST_POINTS, FEWEST_POINTS = 200_000, 100
STEP_BACK, STEP_UP = 0.7, 0.6
"""Position of the view relative to the start, in distances between start and map."""
NEAREST = 0.3
"""Points nearer than this are not drawn, in the same distances."""
MAP_POINTS = 430.0
"""Width of the axes of the map, in typographic points."""
SPLAT = 1.3


def draw_overview(
    path: Path,
    image: NDArray[np.uint8],
    result: Recording,
    title: str,
    truth: NDArray[np.float64] | None = None,
    is_warning: bool = False,
) -> None:
    """Write the picture.

    title: may have several lines; red if is_warning. truth: true positions (N, 3), Sim(3)-aligned
    to the map, None if unknown.
    """
    figure = Figure(figsize=(15, 7), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, width_ratios=(1.5, 1, 1))
    _draw_map(figure.add_subplot(grid[:, 0]), result)
    shown = figure.add_subplot(grid[0, 1])
    shown.imshow(image)
    shown.set_title(f"image at {result.depth_stamp_ns / 1e9:.3f} s")
    depth_axes = figure.add_subplot(grid[1, 1])
    low, high = np.nanpercentile(result.depth, (2, 98))
    drawn = depth_axes.imshow(result.depth, cmap="turbo_r", vmin=low, vmax=high)
    depth_axes.set_title("depth of this image (stream units)")
    figure.colorbar(drawn, ax=depth_axes, location="bottom", shrink=0.8)
    for axes in (shown, depth_axes):
        axes.set_axis_off()
    _draw_path(figure.add_subplot(grid[0, 2]), result, truth, (1, 0))
    _draw_path(figure.add_subplot(grid[1, 2]), result, truth, (0, 2))
    figure.suptitle(title, fontsize=13, color="crimson" if is_warning else "black")
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _draw_map(axes: Axes, result: Recording) -> None:
    """Draw the map from above where loops lead back, else from behind the start and above."""
    if len(result.loops):
        colors, path = result.colors, result.corrected[:, :3]
        picture = map_from_above(result.points, colors, path, result.keyframes, result.loops)
        axes.imshow(picture)
        axes.set_axis_off()
        axes.set_title("fused map from above: keyframes yellow, loops green")
        return
    axes.set_title("fused map, from behind the start and above")
    axes.set_facecolor("0.12")
    axes.set_xticks([])
    axes.set_yticks([])
    points, colors = result.points, result.colors
    if len(points) < FEWEST_POINTS:
        return
    if len(points) > MOST_POINTS:
        drawn = np.random.default_rng(0).choice(len(points), MOST_POINTS, replace=False)
        points, colors = points[drawn], colors[drawn]
    middle = np.median(points, axis=0)
    path = result.corrected[:, :3]
    away = middle - path[0]
    away[2] = 0
    distance = max(float(np.linalg.norm(away)), 1e-6)
    eye = path[0] - STEP_BACK * away + (0, 0, STEP_UP * distance)
    shown, depth = _seen_from(eye, middle, points)
    ahead = depth > NEAREST * distance
    shown, depth, colors = shown[ahead], depth[ahead], colors[ahead]
    order = np.argsort(-depth)  # nearer points hide farther ones
    spacing = float(np.median(cKDTree(points).query(points[::50], k=2)[0][:, 1]))
    low, high = np.percentile(shown, (1, 99), axis=0)
    path_shown, _ = _seen_from(eye, middle, path)
    low, high = np.minimum(low, path_shown.min(0)), np.maximum(high, path_shown.max(0))
    center, half = (low + high) / 2, 0.53 * max(*(high - low), 1e-6)
    # splats as wide as the spacing of points, in typographic points squared
    sizes = np.square(SPLAT * MAP_POINTS * spacing / depth / (2 * half))
    across, up = shown[order].T
    axes.scatter(across, up, c=colors[order], s=sizes[order], marker="s", linewidths=0)
    axes.plot(*path_shown.T, color="crimson", linewidth=2, label="trajectory")
    axes.plot(*path_shown[0], "o", color="crimson", markersize=8, label="start")
    axes.set_xlim(center[0] - half, center[0] + half)
    axes.set_ylim(center[1] - half, center[1] + half)
    axes.set_aspect("equal", adjustable="box")
    axes.legend(loc="upper right")


def _seen_from(
    eye: NDArray[np.float64], target: NDArray[np.float64], points: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the projections (N, 2), x right and y up, and the depths (N,) in an upright pinhole
    camera."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right)
    axes = np.stack((right, np.cross(right, forward), forward))
    x, y, depth = axes @ (points - eye).T
    return np.stack((x, y), axis=1) / depth[:, None], depth


def _draw_path(
    axes: Axes,
    result: Recording,
    truth: NDArray[np.float64] | None,
    shown: tuple[int, int],
) -> None:
    """Draw the trajectory from above (axes y and x) or from the side (x and z)."""
    across, up = shown
    if truth is not None:
        axes.plot(
            truth[:, across], truth[:, up], color="0.6", linewidth=5, label="truth, Sim(3)-aligned"
        )
    path, live = result.corrected[:, :3], result.positions
    if len(result.loops):
        for ends in result.loops:
            axes.plot(ends[:, across], ends[:, up], color="seagreen", linewidth=1)
        axes.plot(
            live[:, across],
            live[:, up],
            color="tab:blue",
            linewidth=1,
            label="live, before closure",
        )
    label = "trajectory, loops closed" if len(result.loops) else "trajectory"
    axes.plot(path[:, across], path[:, up], color="crimson", linewidth=2, label=label)
    axes.plot(path[0, across], path[0, up], "o", color="crimson", markersize=7)
    axes.set_aspect("equal", adjustable="datalim")
    if across == 1:
        axes.invert_xaxis()  # y is to the left
    axes.set_xlabel(f"{'xyz'[across]} (stream units)")
    axes.set_ylabel(f"{'xyz'[up]} (stream units)")
    axes.set_title(f"trajectory from {'above' if across == 1 else 'the side'}")
    axes.legend(loc="best", fontsize=8)
