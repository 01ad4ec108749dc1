# SPDX-License-Identifier: Apache-2.0
"""Table and picture of the results of benchmarks.stream."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from infinitevggt_core.io.atomic_file import whole_file

STAGES = (
    "patch embedding",
    "frame blocks",
    "global blocks",
    "global attention",
    "storing",
    "eviction",
    "camera head",
    "depth head",
    "point head",
    "rest",
)


def table(results: dict[str, Any]) -> str:
    """Return Markdown tables of the figures, of the parts of a frame, and of the machines."""
    return "\n\n".join((figures(results), stages(results), machines(results))) + "\n"


def figures(results: dict[str, Any]) -> str:
    rows = [
        (name, row["figure"], f"{row['value']:.3g}", row["must"], row["aim"])
        for name, result in results.items()
        for row in result["figures"]
    ]
    return markdown(("case", "figure", "measured", "must", "aim"), rows)


def stages(results: dict[str, Any]) -> str:
    """Return the table of milliseconds per frame and part. Whole frames are measured without the
    waits between parts."""
    rows = []
    for name, result in results.items():
        for who, values in result.get("measured", {}).items():
            parts = [values["stages_ms"].get(stage) for stage in STAGES]
            cells = ["" if ms is None else f"{ms:.3g}" for ms in parts]
            far = values["difference"]
            difference = "" if far is None else f"{far:.1e}"
            held = f"{values['held_mb']:.1f}"
            rows.append((name, who, f"{values['ms']:.4g}", *cells, held, difference))
    head = ("case", "session", "ms/frame", *STAGES, "MB held", "difference")
    return markdown(head, rows)


def machines(results: dict[str, Any]) -> str:
    rows = []
    for name, result in results.items():
        it = result["machine"]
        processor = f"{it['processor']} ({it['capability']}), {it['threads']} thread(s)"
        columns = (it[key] for key in ("torch", "commit", "clock", "load"))
        rows.append((name, it["device"], processor, *columns))
    return markdown(("case", "device", "processor", "torch", "commit", "clock", "load"), rows)


def markdown(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write_picture(results: dict[str, Any], path: Path) -> None:
    picture = Figure(figsize=(15, 9), layout="constrained")
    FigureCanvasAgg(picture)
    above, below = picture.subfigures(2, 1, height_ratios=(1, 1.1))
    by_length, by_budget = above.subfigures(1, 2)
    draw_curves(by_length, results.get("length", {}).get("curves", {}))
    draw_budgets(by_budget, results.get("budgets", {}).get("budgets", {}))
    draw_stages(below.subplots(), results)
    with whole_file(path) as partial:
        picture.savefig(partial, format="png", dpi=80)


def draw_curves(figure: Any, curves: dict[str, list[list[float]]]) -> None:
    axes = figure.subplots(1, 2)
    for name, points in curves.items():
        frames, ms, megabytes = zip(*points, strict=True)
        axes[0].plot(frames, ms, label=name)
        axes[1].plot(frames, megabytes, label=name)
    titles(axes, "frame")


def draw_budgets(figure: Any, budgets: dict[str, Any]) -> None:
    axes = figure.subplots(1, 2)
    frames = [int(count) for count in budgets]
    for name in next(iter(budgets.values()), {}):
        axes[0].plot(frames, [row[name]["ms"] for row in budgets.values()], "o-", label=name)
        axes[1].plot(frames, [row[name]["held_mb"] for row in budgets.values()], "o-", label=name)
    titles(axes, "frames per layer")


def titles(axes: Any, along: str) -> None:
    for place, title in zip(axes, ("ms per frame", "MB held"), strict=True):
        place.set_title(title)
        place.set_xlabel(along)
        place.set_ylim(bottom=0)
        place.grid(alpha=0.3)
        if place.lines:
            place.legend()


def draw_stages(axes: Axes, results: dict[str, Any]) -> None:
    """Draw the parts of a frame of each case, relative to its slowest session."""
    labels: list[str] = []
    for name, result in results.items():
        measured = result.get("measured", {})
        most = max((sum(x["stages_ms"].values()) for x in measured.values()), default=1)
        for who, values in measured.items():
            labels.append(f"{name}: {who}")
            left = 0.0
            for index, stage in enumerate(STAGES):
                share = values["stages_ms"].get(stage, 0.0) / most
                first = stage if len(labels) == 1 else None
                axes.barh(len(labels), share, left=left, color=f"C{index}", label=first)
                left += share
    axes.set_yticks(range(1, len(labels) + 1), labels)
    axes.invert_yaxis()
    axes.set_xlabel("time of a frame's parts, the slowest session of a case = 1")
    if labels:
        axes.legend(ncols=2, loc="center left", bbox_to_anchor=(1, 0.5))
