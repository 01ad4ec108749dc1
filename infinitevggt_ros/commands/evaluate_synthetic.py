# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt evaluate synthetic`: evaluation on synthetic worlds reserved for validation."""

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infinitevggt_core.memory import MemoryConfig
from infinitevggt_core.worlds.config import LEVELS, MOTIONS, WorldConfig
from infinitevggt_ros.commands.option_arguments import (
    add_options,
    add_threads,
    apply_options,
    image_size,
)
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.params.settings import ModelSettings, PoseSettings
from infinitevggt_ros.processor import thread_count

SYNTHETIC_EXAMPLE = (
    "infinitevggt evaluate synthetic --seeds 10000-10004 --level easy --json easy.json"
)
SHOWN = {
    "ate_percent": ("ATE %", "{:.2f}"),
    "rotation_deg_median": ("rot deg", "{:.2f}"),
    "ate_percent_corrected": ("corr. ATE %", "{:.2f}"),
    "rotation_deg_median_corrected": ("corr. rot deg", "{:.2f}"),
    "loops": ("loops", "{:.0f}"),
    "lost": ("lost", "{:.2f}"),
    "depth_absrel": ("AbsRel", "{:.3f}"),
    "depth_delta125": ("d<1.25", "{:.3f}"),
    "acc": ("acc m", "{:.3f}"),
    "comp": ("comp m", "{:.3f}"),
    "nc": ("NC", "{:.3f}"),
    "scale_ratio": ("scale", "{:.2f}"),
    "fps": ("frames/s", "{:.1f}"),
    "memory_mb": ("MB", "{:.1f}"),
}
"""Measures at the top of the JSON and their columns of the table."""
CAMERA_SIZE = 240, 320
"""Height and width of the images for tracking, px."""
TRIVIAL = {
    "ate_percent": "ate_percent_constant_velocity",
    "rotation_deg_median": "rotation_deg_median",
    "depth_absrel": "depth_absrel",
    "depth_delta125": "depth_delta125",
}
"""Errors of a trivial prediction by column."""


def configure_synthetic(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--seeds",
        type=_seeds,
        default="10000-10019",
        metavar="A-B",
        help=(
            "worlds: A-B, both included, or A,B,C; 10000 to 10999 are never trained on "
            "(default: %(default)s)"
        ),
    )
    add(
        "--level",
        choices=LEVELS,
        default="standard",
        help=("difficulty of the worlds (default: %(default)s)"),
    )
    add(
        "--motion",
        choices=MOTIONS,
        default="any",
        help="carrier of the camera; any: drawn from the seed (default: %(default)s)",
    )
    add(
        "--pose-source",
        choices=("tracking", "network"),
        default=PoseSettings().source,
        help="tracking: poses by tracking beside the network; network: the network's own poses "
        "(default: %(default)s)",
    )
    add("--frames", type=int, default=200, help="frames of each world (default: %(default)s)")
    add(
        "--size",
        type=image_size,
        metavar="HxW",
        help="size of the camera's images in pixels (default: 240x320 with tracking; the model's "
        "width, 4:3, with the network's poses)",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures to this file")
    add_threads(parser)
    add_options(
        parser, ModelSettings, without=["image_size", "threads"]
    )  # --size is that of the images
    add_options(parser, MemoryConfig)


def run_synthetic(options: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(thread_count(options.threads))
    if options.frames < 2:
        raise CommandError("--frames must be 2 or more: one frame has no way to measure")
    memory = apply_options(MemoryConfig(), options)
    _remark_on_training_seeds(options.seeds)
    report = evaluate_synthetic(options, apply_options(ModelSettings(), options), memory)
    print(table(report))
    if options.json:
        from infinitevggt_core.io.atomic_file import whole_file

        options.json.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(options.json) as partial:
            partial.write_text(json.dumps(report, indent=1))
    return 0


def evaluate_synthetic(
    options: argparse.Namespace, settings: ModelSettings, memory: MemoryConfig
) -> dict[str, Any]:
    """Return the JSON: means at the top, then `trivial`, `settings` and `worlds`."""
    import torch
    from tqdm import tqdm

    from infinitevggt_core import StreamSession
    from infinitevggt_core.evaluation.synthetic_world import evaluate_world, mean_of
    from infinitevggt_core.io.machine import device_name
    from infinitevggt_core.worlds import World
    from infinitevggt_ros.params.model_loading import load_model

    try:
        model = load_model(settings)
    except ValueError as error:
        raise CommandError(str(error)) from error
    config = model.config
    tracking = options.pose_source == "tracking"
    natural = CAMERA_SIZE if tracking else _natural_size(config.img_size, config.patch_size)
    size = options.size or natural
    if not tracking and any(side % config.patch_size for side in size):
        raise CommandError(f"--size: sides must be multiples of {config.patch_size}; got {size}")
    session = StreamSession(model, memory)
    reports = []
    total = len(options.seeds) * options.frames
    with tqdm(total=total, unit="frame", desc="streaming", disable=None) as bar:
        for seed in options.seeds:
            world = World(seed, config=WorldConfig.of(options.level, motion=options.motion))
            reports.append(
                evaluate_world(world, options.frames, size, session, bar.update, tracking=tracking)
            )
            bar.set_postfix(ATE=f"{reports[-1].errors['ate_percent']:.2f} %")
    means = mean_of([report.errors for report in reports])
    return {
        **{name: means[name] for name in SHOWN if name in means},
        "trivial": mean_of([report.trivial for report in reports]),
        "means": means,
        "settings": {
            "checkpoint": settings.source,
            "parameters": sum(p.numel() for p in model.parameters()),
            "level": options.level,
            "motion": options.motion,
            "pose_source": options.pose_source,
            "frames": options.frames,
            "height_width": size,
            "memory": asdict(memory),
            "precision": str(model.dtype).removeprefix("torch."),
            "device": device_name(model.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        "worlds": [asdict(report) for report in reports],
    }


def table(report: dict[str, Any]) -> str:
    """Print one row per world, their mean, and the errors of trivial predictions."""
    shown = {name: column for name, column in SHOWN.items() if name in report}
    rows = [["world", *(title for title, _ in shown.values())]]
    for world in report["worlds"]:
        rows.append([str(world["seed"]), *_cells(shown, world["errors"])])
    rows.append(["mean", *_cells(shown, report)])
    trivial = {name: report["trivial"][key] for name, key in TRIVIAL.items()}
    rows.append(["trivial", *_cells(shown, trivial)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    rule = "-" * len(lines[0])
    notes = (
        "scale: of the path relative to that of the depth, 1 where they fit together\n"
        "ATE, rot: of the poses as given with each image; corr.: as known at the end\n"
        "trivial: straight ahead at one speed, never turning, one depth everywhere"
    )
    return "\n".join([lines[0], rule, *lines[1:-2], rule, *lines[-2:], "", notes])


def _cells(shown: dict[str, tuple[str, str]], values: dict[str, float]) -> list[str]:
    return [form.format(values[n]) if n in values else "" for n, (_, form) in shown.items()]


def _natural_size(width: int, patch_size: int) -> tuple[int, int]:
    return round(0.75 * width / patch_size) * patch_size, width


def _remark_on_training_seeds(seeds: list[int]) -> None:
    from infinitevggt_core.training.world_source import VALIDATION

    if not all(seed in VALIDATION for seed in seeds):
        print("remark: some of these worlds may have been trained on; 10000 to 10999 never are")


def _seeds(text: str) -> list[int]:
    span = re.fullmatch(r"(\d+)-(\d+)", text)
    seeds = (
        list(range(int(span[1]), int(span[2]) + 1))
        if span
        else [int(part) for part in text.split(",") if part.isdecimal()]
    )
    if not seeds or (not span and len(seeds) != text.count(",") + 1):
        raise argparse.ArgumentTypeError(f"{text} is neither A-B with A <= B nor A,B,C")
    return seeds
