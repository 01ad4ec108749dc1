# SPDX-License-Identifier: Apache-2.0
"""Time per frame and part, and memory of a stream, beside a naive baseline in the same run.

small      21 M parameters, 112x154, 20 frames per layer, fp32: naive against ours
eviction   the same network: each policy against window with the same number of tokens
lingbot    the same sizes, LingBot-Map's kind: trajectory against window
length     the same network: frame 5,000, or --old, against frame 200
budgets    the same network: naive against ours over the budget
full       full size, 392x518, 2 frames per layer, fp32: naive against ours
user       the same: naive with all heads in fp32 against ours with depth and camera in bf16
precision  the small network, and wider ones: fp32 against bf16
compiled   the small network: eager against compiled blocks
kernels    products and attention of a layer at full size: PyTorch's own choice against ours
gpu_25k    full size, 25,000 tokens per layer, depth and camera in bf16: frames per second, with
           eager and compiled blocks
gpu_50k    full size, 50,000 tokens per layer, bf16: naive against ours, time and peak memory

Writes OUT/stream.json, OUT/stream.md and OUT/stream.png. Earlier results of other cases stay.

Examples: python -m benchmarks.stream --out results/stream
          python -m benchmarks.stream --out results/stream --cases gpu_25k,gpu_50k --device cuda
          python -m benchmarks.stream --out /tmp/try --cases small,full --dry
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.clock import CLOCKS, Clock
from benchmarks.machine import machine
from benchmarks.stream_cases import CASES, Bench
from benchmarks.stream_report import table, write_picture
from infinitevggt_core.io.atomic_file import whole_file

MINUTES = "small,eviction,length,budgets,precision,kernels"
"""Cases that take minutes on a CPU."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="directory for results")
    add("--cases", default=MINUTES, help="(default: %(default)s)")
    add("--device", default="cpu", help="(default: %(default)s)")
    add("--threads", type=int, default=torch.get_num_threads(), help="processor threads")
    add("--frames", type=int, default=60, help="timed frames (default: %(default)s)")
    add("--old", type=int, default=5000, help="frames of the long stream (default: %(default)s)")
    add(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="processor: processor time of this process, for one thread on a shared machine "
        "(default: %(default)s)",
    )
    add("--dry", action="store_true", help="run a few frames of the smallest network only")
    options = parser.parse_args()
    unknown = set(options.cases.split(",")) - set(CASES)
    if unknown:
        parser.error(f"no cases: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    if options.frames < 20:
        parser.error("--frames must be 20 or more: cases take as few as a tenth of them")
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    clock = Clock(options.clock, device)
    bench = Bench(device, clock, options.frames, options.old, options.dry)
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "stream.json"
    results = json.loads(record.read_text()) if record.exists() else {}
    where = machine(device) | {"clock": options.clock}
    for name in tqdm(options.cases.split(","), unit="case", disable=None):
        results[name] = {**CASES[name](bench), "machine": where}
        save(options.out, {case: results[case] for case in CASES if case in results})
    print((options.out / "stream.md").read_text())
    return 0


def save(out: Path, results: dict[str, Any]) -> None:
    """Write the results after each case, so that a later failure loses none."""
    texts = {"stream.json": json.dumps(results, indent=1), "stream.md": table(results)}
    for name, text in texts.items():
        with whole_file(out / name) as partial:
            partial.write_text(text)
    write_picture(results, out / "stream.png")


if __name__ == "__main__":
    sys.exit(main())
