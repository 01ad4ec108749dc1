# SPDX-License-Identifier: Apache-2.0
"""Everything that only a GPU can tell, in at most six minutes, the most valuable first.

ceilings   matrix products and memory bandwidth
attention  each kernel at the sizes of a frame and of a full memory; its first call apart
frame      a frame at full size: layers evicted one by one, together, in a graph, compiled
diversity  the published policy by the kernels, and with budgets in steps
tokens     tiny on the CPU and on the device: are the same tokens kept?
train      tiny, for the time that is left; last.safetensors

Each row is written to OUT/gpu.json at once; a row that fails holds its error, and the next follows.
Steady frames are profiled in OUT/profile.txt. No file is larger than 16 MB.

Examples: python -m benchmarks.gpu --out gpu
          python -m benchmarks.gpu --out gpu --steps train --minutes 30
          python -m benchmarks.gpu --out /tmp/try --device cpu --small
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_steps import STEPS, Trial, Work
from benchmarks.machine import machine
from infinitevggt_core.io.atomic_file import whole_file

ERROR_LENGTH = 600


class Journal:
    """Rows of a run, in a file that is whole after each of them."""

    def __init__(self, path: Path, facts: dict[str, object]) -> None:
        self._path, self._facts = path, facts
        self.rows: list[dict[str, Any]] = []

    def record(self, step: str, name: str, work: Work) -> None:
        """Do the work of a row and write its figures, or its error."""
        started_s = time.monotonic()
        row: dict[str, Any] = {"step": step, "row": name}
        try:
            row |= work()
        except Exception as error:  # the next row may work, and time on the device is dear
            row["error"] = f"{type(error).__name__}: {error}"[:ERROR_LENGTH]
        row["seconds"] = round(time.monotonic() - started_s, 1)
        self.rows.append(row)
        print(" ".join(f"{key}: {value};" for key, value in row.items()), flush=True)
        with whole_file(self._path) as partial:
            partial.write_text(json.dumps({"machine": self._facts, "rows": self.rows}, indent=1))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="directory for results")
    add("--steps", default=",".join(STEPS), help="steps to run (default: %(default)s)")
    add("--minutes", type=float, default=6, help="time limit of all steps (default: %(default)s)")
    add("--run", type=Path, help="directory of the training run, to be continued (default: OUT)")
    add("--level", default="standard", help="level of the training worlds (default: %(default)s)")
    add("--device", default="cuda", help="(default: %(default)s)")
    add("--small", action="store_true", help="run a few frames of a small network as a test")
    options = parser.parse_args(arguments)
    steps = options.steps.split(",")
    unknown = set(steps) - set(STEPS)
    if unknown:
        parser.error(f"no steps: {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    trial = Trial(
        device=torch.device(options.device),
        small=options.small,
        out=options.out,
        run=options.run or options.out / "run",
        level=options.level,
        deadline_s=time.monotonic() + 60 * options.minutes,
    )
    journal = Journal(options.out / "gpu.json", machine(trial.device))
    for step in steps:
        for name, work in STEPS[step](trial):
            if trial.left_s > 0:
                journal.record(step, name, work)
    failed = [f"{row['step']} {row['row']}" for row in journal.rows if "error" in row]
    print(f"failed: {', '.join(failed) or 'nothing'}; results: {options.out}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
