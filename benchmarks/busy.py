# SPDX-License-Identifier: Apache-2.0
"""Time per frame of `tiny` beside busy processes, by how idle threads of PyTorch wait.

default     PyTorch's own: a thread a core, which spins before it sleeps
passive     OMP_WAIT_POLICY=PASSIVE, as the node and the command line set it
one thread  the same with one thread, the default of the node on two cores

Each case is a process of its own. They take turns: a block of frames without, then a block beside
busy loops, one for each core, which this program starts and ends. The load by other processes is
in the result.

Example: python -m benchmarks.busy --out results/busy
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from tqdm import tqdm

from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.io.machine import commit, processor

WARM = 30
"""Frames before the first block, which fill the memory."""
SETTINGS = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")
CASES = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"},
}
"""Environment of each case."""
Times = dict[str, list[float]]
"""Milliseconds of each frame, by case."""


class Stream:
    """Process that computes frames when it is told to."""

    def __init__(self, settings: dict[str, str]) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.busy_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | settings,
        )

    def times(self, frames: int) -> list[float]:
        """Return the time of each of the next frames, milliseconds."""
        assert self.process.stdin
        assert self.process.stdout
        print(frames, file=self.process.stdin, flush=True)
        return [float(ms) for ms in json.loads(self.process.stdout.readline())]


@contextmanager
def streams() -> Iterator[dict[str, Stream]]:
    """Context manager that yields a stream for each case, with a full memory."""
    with ExitStack() as stack:
        started = {name: Stream(settings) for name, settings in CASES.items()}
        for stream in started.values():
            stack.enter_context(stream.process)
            stack.callback(stream.process.kill)
        for stream in started.values():
            stream.times(WARM)
        yield started


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Context manager that keeps so many cores busy."""
    command = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    loops = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for loop in loops:
            assert loop.stdout
            loop.stdout.readline()  # it has started
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(blocks: int, frames: int, loops: int) -> tuple[Times, Times]:
    """Return the times without and beside busy loops."""
    alone: Times = {name: [] for name in CASES}
    beside: Times = {name: [] for name in CASES}
    with streams() as started:
        for _ in tqdm(range(blocks), unit="block", disable=None):
            for name, stream in started.items():
                alone[name] += stream.times(frames)
            with busy_loops(loops):
                for name, stream in started.items():
                    beside[name] += stream.times(frames)
    return alone, beside


def table(alone: Times, beside: Times) -> str:
    """Markdown, a row a case."""
    best = median(beside["one thread"])
    rows = [
        "| case | alone, ms | beside, ms | worst, ms | beside / alone | beside / one thread's |",
        "|---|---|---|---|---|---|",
    ]
    for name in CASES:
        without, busy = median(alone[name]), median(beside[name])
        rows.append(
            f"| {name} | {without:.0f} | {busy:.0f} | {max(beside[name]):.0f} "
            f"| {busy / without:.2f} | {busy / best:.2f} |"
        )
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="directory for results")
    add("--blocks", type=int, default=5, help="turns of each case (default: %(default)s)")
    add("--frames", type=int, default=20, help="frames of a block (default: %(default)s)")
    add("--loops", type=int, default=os.cpu_count(), help="busy loops (default: one for each core)")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    alone, beside = measure(options.blocks, options.frames, options.loops)
    text = table(alone, beside)
    machine = {"commit": commit(), "processor": processor(), "cores": os.cpu_count()}
    machine |= {"load before": round(load, 1), "loops": options.loops}
    record = json.dumps({"machine": machine, "alone": alone, "beside": beside}, indent=1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in {"busy.md": text + "\n", "busy.json": record}.items():
        with whole_file(options.out / name) as partial:
            partial.write_text(content)
    print(f"{text}\n\n{machine}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
