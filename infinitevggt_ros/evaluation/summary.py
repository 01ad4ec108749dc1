# SPDX-License-Identifier: Apache-2.0
"""Table of several runs, and a recommendation of a setting."""

from dataclasses import dataclass
from typing import Any

from infinitevggt_core.model.model_card import model_note
from infinitevggt_ros.params.settings import DEFAULT_CHECKPOINT

AS_GOOD = 1.1
"""A setting is as good as the best up to this factor of its errors."""
Run = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a run and its column in tables."""

    title: str
    path: tuple[str, ...]
    """Keys in metrics.json, from the outermost."""
    form: str
    lower_is_better: bool = True

    def of(self, run: Run) -> float | None:
        value: Any = run
        for key in self.path:
            value = value.get(key) if value else None
        return None if value is None else float(value)

    def shown(self, value: float | None) -> str:
        return "-" if value is None else self.form.format(value)


MEASURES = (
    Measure("ATE m", ("trajectory", "sim3", "ate_rmse"), "{:.3f}"),
    Measure("ATE %", ("trajectory", "sim3", "ate_percent"), "{:.2f}"),
    Measure("rot deg", ("trajectory", "sim3", "rotation_deg_median"), "{:.2f}"),
    Measure("corrected ATE %", ("trajectory_corrected", "sim3", "ate_percent"), "{:.2f}"),
    Measure("corrected rot deg", ("trajectory_corrected", "sim3", "rotation_deg_median"), "{:.2f}"),
    Measure("RPE m", ("trajectory", "sim3", "rpe_translation"), "{:.4f}"),
    Measure("AbsRel", ("depth", "scale", "absrel"), "{:.3f}"),
    Measure("d<1.25", ("depth", "scale", "delta125"), "{:.3f}", lower_is_better=False),
    Measure("acc m", ("reconstruction", "acc"), "{:.3f}"),
    Measure("comp m", ("reconstruction", "comp"), "{:.3f}"),
    Measure("NC", ("reconstruction", "nc"), "{:.3f}", lower_is_better=False),
    Measure("frames/s", ("run", "frames_per_s"), "{:.1f}", lower_is_better=False),
    Measure("p95 ms", ("run", "latency_ms", "p95"), "{:.0f}"),
    Measure("stream MB", ("run", "stream_memory_mb"), "{:.1f}"),
    Measure("tokens", ("run", "tokens_kept"), "{:.0f}"),
)
ALIGNED = "ATE, rot and RPE: after alignment of the positions with the truth, Sim(3)"
DECISIVE = (("trajectory", "sim3", "ate_rmse"), ("depth", "scale", "absrel"))
"""Errors by which settings are compared for the recommendation."""
STANDING = ("trajectory", "ate_rmse_standing")
MOST_OF_STANDING = 0.5
"""Largest useful error of a trajectory, as a share of the error of standing still. Settings with a
larger error are not recommended."""


def summary(runs: list[Run]) -> str:
    """Return a table of the runs, and a recommendation for each source with several of them."""
    rows = [["source", "setting", *(m.title for m in MEASURES)]]
    for run in runs:
        rows.append([run["name"], run["label"], *(cell(m, run) for m in MEASURES)])
    for label, means in mean_figures(runs).items():
        rows.append(["mean", label, *(m.shown(means[m.title]) for m in MEASURES)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(w) if i < 2 else text.rjust(w) for i, (text, w) in row)
        for row in (list(enumerate(zip(row, widths, strict=True))) for row in rows)
    ]
    notes = [ALIGNED] if has_truth(runs) else []
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *notes, *advice(runs)])


def mean_figures(runs: list[Run]) -> dict[str, dict[str, float | None]]:
    """Return means over the sources, by setting and measure; empty for one source."""
    if len({run["name"] for run in runs}) < 2:
        return {}
    means: dict[str, dict[str, float | None]] = {}
    for label in dict.fromkeys(run["label"] for run in runs):
        of_label = [run for run in runs if run["label"] == label]
        means[label] = {}
        for measure in MEASURES:
            values = [v for v in map(measure.of, of_label) if v is not None]
            means[label][measure.title] = sum(values) / len(values) if values else None
    return means


def cell(measure: Measure, run: Run) -> str:
    return measure.shown(measure.of(run))


def advice(runs: list[Run]) -> list[str]:
    """Return one sentence for each source with several settings."""
    names = dict.fromkeys(run["name"] for run in runs)
    groups = {name: [run for run in runs if run["name"] == name] for name in names}
    return [
        recommendation(name, group)
        for name, group in groups.items()
        if len(group) > 1 and has_truth(group)
    ]


def weights_notes(runs: list[Run]) -> list[str]:
    """Return the limits of the weights that the runs used, one sentence each."""
    sources = [run["parameters"]["model"]["checkpoint"] or DEFAULT_CHECKPOINT for run in runs]
    return [f"weights: {note}" for source in dict.fromkeys(sources) if (note := model_note(source))]


def recommendation(name: str, runs: list[Run]) -> str:
    """Return the recommendation among the settings of one source as a sentence."""
    if not any(follows(run) for run in runs):
        standing = value(runs[0], STANDING)
        baseline = f"the error of standing still is {standing:.3f} m"
        return f"{name}: no setting follows the camera; {baseline}"
    return (
        f"{name}: {recommended(runs)['label']} needs the least memory of the settings whose errors "
        f"are within {100 * (AS_GOOD - 1):.0f} % of the best"
    )


def can_recommend(runs: list[Run]) -> bool:
    return has_truth(runs) and any(map(follows, runs))


def follows(run: Run) -> bool:
    """Return True if the trajectory is better than standing still, or if there is no truth."""
    standing, found = value(run, STANDING), value(run, DECISIVE[0])
    return standing is None or found is None or found < MOST_OF_STANDING * standing


def has_truth(runs: list[Run]) -> bool:
    return any(value(run, path) is not None for run in runs for path in DECISIVE)


def recommended(runs: list[Run]) -> Run:
    """Return the run of one source with the least memory among those as good as the best in all
    errors; if there is none, the run whose worst factor is smallest."""

    def worst(run: Run) -> float:
        factors = [1.0]
        for path in DECISIVE:
            found = value(run, path)
            best = min((v for v in (value(r, path) for r in runs) if v is not None), default=None)
            if found is not None and best:
                factors.append(found / best)
        return max(factors)

    def memory(run: Run) -> float:
        return float(run["run"]["stream_memory_mb"])

    good = [run for run in runs if worst(run) <= AS_GOOD]
    return min(good, key=memory) if good else min(runs, key=worst)


def value(run: Run, path: tuple[str, ...]) -> float | None:
    return Measure("", path, "").of(run)
