# SPDX-License-Identifier: Apache-2.0
"""Figure of training curves, for a model card.

Example: python -m benchmarks.curves runs/tiny/curves --out docs/tiny_curves.png
"""

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from infinitevggt_core.io.atomic_file import whole_file

LOSSES = ("pose", "depth", "points", "tracks", "places", "matching")
MEASURES = {
    "depth_absrel": "depth AbsRel",
    "rotation_deg": "rotation error (deg)",
    "translation": "translation error / way",
}
MOST_LOSS = 1.2
SMOOTHING = 0.95
"""Smoothing of the losses, which are those of single batches."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curves", type=Path, nargs="+", help="TensorBoard directories, in order")
    parser.add_argument("--out", type=Path, required=True, help="output PNG")
    options = parser.parse_args()
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 1 + len(MEASURES))
    for name in LOSSES:
        steps, values = scalars(options.curves, f"train/{name}")
        axes[0].plot(steps, smoothed(values), label=name)
    axes[0].set_ylim(0, MOST_LOSS)
    axes[0].set_title("parts of the loss, smoothed")
    axes[0].legend()
    for place, (name, title) in zip(axes[1:], MEASURES.items(), strict=True):
        draw_measure(place, options.curves, name, title)
    for place in axes:
        place.set_xlabel("step")
        place.grid(alpha=0.3)
    with whole_file(options.out) as partial:
        figure.savefig(partial, format="png", dpi=90)


def draw_measure(axes: Axes, curves: list[Path], name: str, title: str) -> None:
    """Plot metrics on validation worlds beside the trivial prediction."""
    steps, values = scalars(curves, f"validation/{name}")
    _, trivial = scalars(curves, f"validation/{name}_trivial")
    axes.plot(steps, values, "o-", markersize=3, label="validation")
    # relative to the way, standing still is off by 1
    axes.plot(steps, trivial or [1.0] * len(steps), "k--", linewidth=1, label="trivial guess")
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.legend()


def scalars(curves: list[Path], tag: str) -> tuple[list[int], list[float]]:
    """Return steps and values. A run that continues another one continues its steps."""
    steps: list[int] = []
    values: list[float] = []
    for directory in curves:
        events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
        events.Reload()
        before = steps[-1] if steps else 0
        if tag in events.Tags()["scalars"]:
            found = events.Scalars(tag)
            steps += [before + event.step for event in found]
            values += [event.value for event in found]
    return steps, values


def smoothed(values: list[float]) -> list[float]:
    """Return an exponential mean without the bias of its start."""
    total, weight, out = 0.0, 0.0, []
    for value in values:
        total = SMOOTHING * total + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        out.append(total / weight)
    return out


if __name__ == "__main__":
    main()
