# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a GPU runs from end to end."""

import json
from pathlib import Path

from benchmarks import gpu
from support.null_gpu import is_null

WITHOUT_TRAINING = "ceilings,attention,frame,diversity,tokens"
"""On the null GPU losses are no numbers, and training stops."""


def test_every_row_has_figures(tmp_path: Path) -> None:
    steps = WITHOUT_TRAINING if is_null() else ",".join(gpu.STEPS)
    gpu.main(["--out", str(tmp_path), "--small", "--steps", steps])
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["machine"]["device"]
    errors = {(row["step"], row["row"]): row["error"] for row in report["rows"] if "error" in row}
    if is_null():  # cuDNN talks to the driver by itself
        errors = {name: error for name, error in errors.items() if "cuDNN" not in name[1]}
    assert not errors
    assert {row["step"] for row in report["rows"]} == set(steps.split(","))
    (graph,) = (row for row in report["rows"] if row["row"] == "in a graph")
    assert graph["frames by a graph"] > 2
    assert (tmp_path / "profile.txt").stat().st_size > 0
