"""One picture of a run: the map from above with the trajectory, an image and its depth."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from infinitevggt_core.whole_file import whole_file

if TYPE_CHECKING:
    from infinitevggt_ros.comparison import Comparison
    from infinitevggt_ros.demo_report import Recording

MOST_POINTS = 200_000
SHOWN_SHARE = 98.0
"""Per cent of the points that the map's axes must hold: a few stray ones do not set the scale."""


def draw_overview(
    path: Path,
    image: NDArray[np.uint8],
    result: "Recording",
    comparison: "Comparison | None",
    note: str,
) -> None:
    """Write the picture. comparison: with the truth, where it is known. note: a warning that must
    not be missed, or empty."""
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
    depth_axes.set_title("its depth (stream unit)")
    figure.colorbar(drawn, ax=depth_axes, location="bottom", shrink=0.8)
    for axes in (shown, depth_axes):
        axes.set_axis_off()
    truth = comparison.true_positions if comparison else None
    _draw_path(figure.add_subplot(grid[0, 2]), result.positions, truth, (1, 0))
    _draw_path(figure.add_subplot(grid[1, 2]), result.positions, truth, (0, 2))
    last = result.statuses[-1]
    title = (
        f"{last.frames_processed} frames, {len(result.points)} points, "
        f"{sum(last.stored_tokens)} tokens kept ({last.policy})"
    )
    if comparison:
        title += f"\n{comparison}"
    color = "crimson" if note else "black"
    figure.suptitle(f"{note}\n{title}" if note else title, fontsize=13, color=color)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _draw_map(axes: Axes, result: "Recording") -> None:
    """From above, x (forward) upwards and y (left) to the left, as a robot's map is read."""
    order = np.argsort(result.points[:, 2])  # what is higher hides what is lower
    step = max(1, len(order) // MOST_POINTS)
    points, colors = result.points[order[::step]], result.colors[order[::step]]
    axes.scatter(points[:, 1], points[:, 0], c=colors, s=1.0, linewidths=0)
    path = result.positions
    axes.plot(path[:, 1], path[:, 0], color="crimson", linewidth=2, label="camera")
    axes.plot(path[0, 1], path[0, 0], "o", color="crimson", markersize=9, label="start")
    everything = np.concatenate((points[:, :2], path[:, :2]))
    margin = (100 - SHOWN_SHARE) / 2
    low, high = np.percentile(everything, (margin, 100 - margin), axis=0)
    low, high = np.minimum(low, path[:, :2].min(0)), np.maximum(high, path[:, :2].max(0))
    center, half = (low + high) / 2, 0.55 * max(*(high - low), 1e-3)
    axes.set_xlim(center[1] + half, center[1] - half)
    axes.set_ylim(center[0] - half, center[0] + half)
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel("y, left (stream unit)")
    axes.set_ylabel("x, forward (stream unit)")
    axes.set_title("fused map from above, and the camera's way")
    axes.legend(loc="upper right")


def _draw_path(
    axes: Axes,
    path: NDArray[np.float64],
    truth: NDArray[np.float64] | None,
    shown: tuple[int, int],
) -> None:
    """The way from above (axes y and x) or from the side (x and z), on top of the truth."""
    across, up = shown
    if truth is not None:
        axes.plot(truth[:, across], truth[:, up], color="0.6", linewidth=5, label="truth, aligned")
    axes.plot(path[:, across], path[:, up], color="crimson", linewidth=2, label="camera")
    axes.plot(path[0, across], path[0, up], "o", color="crimson", markersize=7)
    axes.set_aspect("equal", adjustable="datalim")
    if across == 1:
        axes.invert_xaxis()  # y is to the left
    axes.set_xlabel(f"{'xyz'[across]} (stream unit)")
    axes.set_ylabel(f"{'xyz'[up]} (stream unit)")
    axes.set_title(f"the camera's way from {'above' if across == 1 else 'the side'}")
    axes.legend(loc="best", fontsize=8)
