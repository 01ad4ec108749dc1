# SPDX-License-Identifier: Apache-2.0
"""Errors of each eviction policy over its budget, on long synthetic worlds.

Every frame of a world is rendered once and shown to all memories in turn. `full`, which holds
everything, is measured once; its time and memory grow with the number of frames.

Writes OUT/quality.json, OUT/quality.md and OUT/quality.png after each world. Existing worlds are
kept, so that a run with other seeds extends an earlier one with the same settings.

    python -m benchmarks.quality --out quality --seeds 10000 10001 --frames 2000
    python -m benchmarks.quality --out results/bf16 --policies diversity --budgets 20 \\
        --precisions fp32 bf16 --dtypes auto int8 --frames 500
    python -m benchmarks.quality --out /tmp/try --frames 40 --level easy --budgets 4 8
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.machine import machine
from benchmarks.quality_report import table, write_picture
from infinitevggt_core import VGGT, MemoryConfig, StreamSession, load_checkpoint
from infinitevggt_core.evaluation.synthetic_world import StreamRecord, finish, rendered_frames
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.memory import POLICIES
from infinitevggt_core.memory.precision import PRECISIONS
from infinitevggt_core.training.world_source import check_validation_seeds
from infinitevggt_core.worlds import LEVELS, World
from infinitevggt_core.worlds.config import MOTIONS, WorldConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LEAST_FRAMES = 4
"""Minimum budget in frames: the anchor, a temporary one, and room for two frames."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Configuration of one memory."""

    policy: str
    held: int
    """Frames per layer; 0: all."""
    dtype: str
    precision: str

    @property
    def name(self) -> str:
        parts = [self.policy, "" if self.dtype == "auto" else f"{self.dtype} stored"]
        parts.append("" if self.precision == "fp32" else self.precision)
        return ", ".join(filter(None, parts))

    def memory(self, tokens: int) -> MemoryConfig:
        """Return the settings of the memory; `tokens` is the number of tokens per frame in all
        layers.

        Frames that a policy always keeps (the latest ones or temporary anchors) are at most a
        quarter.
        """
        quarter = self.held // 4
        if self.policy == "full":
            return MemoryConfig("full", dtype=self.dtype)
        if self.policy == "window":
            return MemoryConfig("window", window=self.held - 1, dtype=self.dtype)
        if self.policy == "trajectory":
            return MemoryConfig(
                "trajectory", window=self.held - 2, trajectory_frames=2, dtype=self.dtype
            )
        own = f"moving_anchors={min(3, quarter)}" if self.policy == "importance" else ""
        latest, total = min(5, quarter), self.held * tokens
        return MemoryConfig(self.policy, own, total, window=latest, dtype=self.dtype)


def variants(options: argparse.Namespace) -> list[Variant]:
    return [
        Variant(policy, held, dtype, precision)
        for precision in options.precisions
        for dtype in options.dtypes
        for policy in options.policies
        for held in ([0] if policy == "full" else options.budgets)
    ]


def measure_world(
    world: World, chosen: list[Variant], networks: dict[str, VGGT], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return one row per variant with its settings and errors."""
    sessions, device = [], next(iter(networks.values())).device
    for variant in chosen:
        model = networks[variant.precision]
        tokens = model.config.depth * model.aggregator.tokens_per_frame(*options.size)
        sessions.append(StreamSession(model, variant.memory(tokens)))
    records = [StreamRecord(world, options.frames) for _ in sessions]
    seconds = [0.0] * len(sessions)
    frames = rendered_frames(world, options.frames, options.size, device)
    for frame in tqdm(frames, total=options.frames, unit="frame", disable=None, leave=False):
        for index, session in enumerate(sessions):
            finish(device)
            started = time.perf_counter()
            prediction = session.push(frame.image)
            finish(device)
            seconds[index] += time.perf_counter() - started
            records[index].add(frame, prediction)
    rows = []
    for variant, session, record, took in zip(chosen, sessions, records, seconds, strict=True):
        costs = {"memory_mb": session.memory_bytes / 1e6, "frame_ms": 1e3 * took / options.frames}
        what = {"name": variant.name, **asdict(variant), "frames_per_layer": variant.held}
        rows.append({**what, **costs, **record.errors()})
    return rows


def main() -> int:
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    networks = {}
    for precision in options.precisions:
        model = load_checkpoint(options.checkpoint, device=options.device)
        networks[precision] = model.cast(DTYPES[precision])
    config = model.config
    rows = round(0.75 * config.img_size / config.patch_size)
    options.size = (rows * config.patch_size, config.img_size)
    chosen = variants(options)
    settings = {
        name: getattr(options, name) for name in ("checkpoint", "level", "motion", "frames", "size")
    }
    settings["variants"] = [asdict(variant) for variant in chosen]
    results = begun(options.out / "quality.json", settings)
    results["machine"] = machine(torch.device(options.device))
    for seed in tqdm(options.seeds, unit="world", disable=None):
        world_config = WorldConfig.of(options.level, motion=options.motion)
        world = World(seed, config=world_config)
        results["worlds"][str(seed)] = measure_world(world, chosen, networks, options)
        save(options.out, results)
    print((options.out / "quality.md").read_text())
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    bounded = [name for name in POLICIES if name != "full"]
    add("--out", type=Path, required=True, help="directory for results")
    add("--seeds", type=int, nargs="+", default=[10000], help="validation worlds")
    add("--frames", type=int, default=2000, help="frames of each world (default: %(default)s)")
    add(
        "--level",
        choices=LEVELS,
        default="standard",
        help=("difficulty of the worlds (default: %(default)s)"),
    )
    add("--motion", choices=MOTIONS, default="loop", help="(default: %(default)s)")
    add("--policies", nargs="+", choices=list(POLICIES), default=bounded)
    add(
        "--budgets",
        type=int,
        nargs="+",
        default=[5, 10, 20, 40],
        help=("budgets in frames per layer"),
    )
    add(
        "--dtypes",
        nargs="+",
        choices=PRECISIONS,
        default=["auto"],
        help=("data types of stored tokens"),
    )
    add(
        "--precisions",
        nargs="+",
        choices=list(DTYPES),
        default=["fp32"],
        help=("precisions of the network"),
    )
    add("--checkpoint", default="tiny", help="(default: %(default)s)")
    add("--device", default="cpu", help="(default: %(default)s)")
    add("--threads", type=int, help="processor threads; default: PyTorch's")
    options = parser.parse_args()
    if min(options.budgets) < LEAST_FRAMES:
        parser.error(f"--budgets must be {LEAST_FRAMES} frames or more")
    try:
        check_validation_seeds(options.seeds)
    except ValueError as error:
        parser.error(str(error))
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def begun(record: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of an earlier run with the same settings, or none."""
    fresh: dict[str, Any] = {"settings": settings, "worlds": {}}
    if not record.exists():
        return fresh
    before: dict[str, Any] = json.loads(record.read_text())
    if before["settings"] != json.loads(json.dumps(settings)):
        raise SystemExit(f"{record} was measured with other settings: give another --out")
    return before


def save(out: Path, results: dict[str, Any]) -> None:
    texts = {"quality.json": json.dumps(results, indent=1), "quality.md": table(results)}
    for name, text in texts.items():
        with whole_file(out / name) as partial:
            partial.write_text(text)
    write_picture(results, out / "quality.png")


if __name__ == "__main__":
    sys.exit(main())
