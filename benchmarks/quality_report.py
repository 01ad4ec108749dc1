# SPDX-License-Identifier: Apache-2.0
"""Table and figure of the results of benchmarks.quality."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.stream_report import markdown
from infinitevggt_core.evaluation.synthetic_world import mean_of
from infinitevggt_core.io.atomic_file import whole_file

COLUMNS = {
    "ate_percent": ("ATE %", "{:.2f}"),
    "rotation_deg_median": ("rotation deg", "{:.2f}"),
    "depth_absrel": ("AbsRel", "{:.4f}"),
    "acc": ("acc m", "{:.3f}"),
    "comp": ("comp m", "{:.3f}"),
    "memory_mb": ("MB", "{:.1f}"),
    "frame_ms": ("ms/frame", "{:.1f}"),
}
PANELS = ("ate_percent", "depth_absrel", "acc", "comp")


def means(results: dict[str, Any]) -> dict[tuple[str, int], dict[str, float]]:
    """Return means over the worlds by policy and frames per layer."""
    worlds = list(results["worlds"].values())
    return {
        (rows[0]["name"], rows[0]["frames_per_layer"]): mean_of(
            [{name: row[name] for name in COLUMNS} for row in rows]
        )
        for rows in zip(*worlds, strict=True)
    }


def table(results: dict[str, Any]) -> str:
    """Return a Markdown table of the means over the worlds."""
    rows = [
        (name, held or "all", *(form.format(values[key]) for key, (_, form) in COLUMNS.items()))
        for (name, held), values in means(results).items()
    ]
    head = ("memory", "frames per layer", *(title for title, _ in COLUMNS.values()))
    it, where = results["settings"], results["machine"]
    about = (
        f"Means over worlds {', '.join(results['worlds'])}: level {it['level']}, motion "
        f"{it['motion']}, {it['frames']} frames of {it['size'][0]}x{it['size'][1]} px; checkpoint "
        f"{it['checkpoint']}; {where['device']}, {where['processor']}, torch {where['torch']}, "
        f"commit {where['commit']}."
    )
    return f"{markdown(head, rows)}\n\n{about}\n"


def write_picture(results: dict[str, Any], path: Path) -> None:
    """Plot errors over the memory held. A memory of all frames is a horizontal line."""
    picture = Figure(figsize=(15, 3.8), layout="constrained")
    FigureCanvasAgg(picture)
    mean = means(results)
    names = list(dict.fromkeys(name for name, _ in mean))
    for axes, key in zip(picture.subplots(1, len(PANELS)), PANELS, strict=True):
        for index, name in enumerate(names):
            of_name = {held: values for (other, held), values in mean.items() if other == name}
            if 0 in of_name:
                axes.axhline(of_name[0][key], color=f"C{index}", linestyle="--", label=name)
                continue
            megabytes = [values["memory_mb"] for values in of_name.values()]
            errors = [values[key] for values in of_name.values()]
            axes.plot(megabytes, errors, "o-", color=f"C{index}", label=name)
        axes.set_title(COLUMNS[key][0])
        axes.set_xlabel("MB held")
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.grid(alpha=0.3)
    axes.legend()
    with whole_file(path) as partial:
        picture.savefig(partial, format="png", dpi=80)
