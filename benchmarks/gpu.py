# SPDX-License-Identifier: Apache-2.0
"""Work that needs a GPU, stage by stage.

Each stage is a process with a time limit. Its output goes to OUT/<stage>.log, and its results are
copied to OUT.

worlds    rendering speed of synthetic worlds
stream    time and memory of the full-size network beside a naive session
train     continue the run in RUN, or start one from the shipped checkpoint; last.safetensors
evaluate  evaluate RUN's checkpoint or else the shipped one, in fp32 and bf16, on validation worlds

Examples: python -m benchmarks.gpu --out gpu --stages worlds,train --minutes 9
          python -m benchmarks.gpu --out /tmp/try --device cpu --small
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CLI = ("-m", "infinitevggt_ros.commands.cli")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="directory for results")
    add("--stages", default=",".join(STAGES), help="stages to run (default: %(default)s)")
    add(
        "--minutes",
        type=float,
        default=25,
        help=("time limit of all stages together; training gets the rest"),
    )
    add("--run", type=Path, default=Path("runs/gpu"), help="directory of the training run")
    add("--level", default="standard", help="level of the training worlds")
    add("--device", default="cuda")
    add("--small", action="store_true", help="run a few frames of everything as a test")
    options = parser.parse_args()
    unknown = set(options.stages.split(",")) - set(STAGES)
    if unknown:
        parser.error(f"no stages: {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    options.deadline = time.monotonic() + 60 * options.minutes
    failed = [name for name in options.stages.split(",") if not STAGES[name](options)]
    print(f"failed: {', '.join(failed) or 'nothing'}; results: {options.out}")
    return len(failed)


def worlds(options: argparse.Namespace) -> bool:
    frames = "4" if options.small else "400"
    arguments = ["--device", options.device, "--frames", frames, "--worlds", frames[:2]]
    return python(options, "worlds", "-m", "benchmarks.worlds", *arguments)


def stream(options: argparse.Namespace) -> bool:
    arguments = ["--device", options.device, "--cases", "gpu_25k,gpu_50k"]
    arguments += ["--dry"] if options.small else []
    out = str(options.out / "stream")
    return python(options, "stream", "-m", "benchmarks.stream", "--out", out, *arguments)


def train(options: argparse.Namespace) -> bool:
    """Leave a minute for the last checkpoint, and the time of the other stages."""
    minutes = (options.deadline - time.monotonic()) / 60 - 1 - 2 * ("evaluate" in options.stages)
    arguments = ["--out", str(options.run), "--minutes", f"{minutes:.2f}"]
    if (options.run / "state.pt").exists():
        arguments += ["--resume"]
    else:
        arguments += ["--init", "tiny", "--level", options.level, *TRAINING]
    if options.small:
        arguments += ["--steps", "2", "--batch-frames", "8", "--frames-last", "8"]
        arguments += ["--validation-clips", "2"]
    done = python(options, "train", *CLI, "train", "--device", options.device, *arguments)
    if done:
        shutil.copy(options.run / "last.safetensors", options.out)
    return done


def evaluate(options: argparse.Namespace) -> bool:
    checkpoint = options.run / "last.safetensors"
    name = str(checkpoint) if checkpoint.exists() else "tiny"
    size = ("10000-10001", "4") if options.small else ("10000-10009", "200")
    fixed = ["--seeds", size[0], "--frames", size[1], "--device", options.device]
    done = True
    for level in ("easy", "standard"):
        for precision in ("fp32", "bf16"):
            path = options.out / f"{level}_{precision}.json"
            arguments = ["--level", level, "--precision", precision, "--json", str(path)]
            command = [*CLI, "evaluate", "synthetic", "--checkpoint", name, *fixed, *arguments]
            done &= python(options, f"evaluate_{level}_{precision}", *command)
    return done


TRAINING = (
    *("--optimizer", "muon", "--lr", "1e-3", "--steps", "60000", "--warmup-steps", "200"),
    *("--batch-frames", "768", "--frames-first", "8", "--frames-last", "24", "--growth-steps", "0"),
    *("--stride-last", "16", "--dense-share", "0.25", "--place-weight", "2"),
    *("--translation-weight", "2", "--validate-every", "500", "--save-every", "500"),
)
STAGES: dict[str, Callable[[argparse.Namespace], bool]] = {
    "worlds": worlds,
    "stream": stream,
    "train": train,
    "evaluate": evaluate,
}


def python(options: argparse.Namespace, stage: str, *arguments: str) -> bool:
    """Run a module within the remaining time. Return True on success."""
    left_s = max(1.0, options.deadline - time.monotonic())
    print(f"{stage}: {' '.join(arguments)}", flush=True)
    with (options.out / f"{stage}.log").open("w") as log:
        try:
            ended = subprocess.run(
                [sys.executable, *arguments], stdout=log, stderr=subprocess.STDOUT, timeout=left_s
            )
        except subprocess.TimeoutExpired:
            log.write(f"\nstopped after {left_s:.0f} s\n")
            return False
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
