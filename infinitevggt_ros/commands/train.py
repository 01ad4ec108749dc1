# SPDX-License-Identifier: Apache-2.0
"""Train a network on synthetic worlds or on bags, from scratch or from a checkpoint.

Several GPUs or machines: torchrun --nproc-per-node 8 -m infinitevggt_ros.commands.cli train ... A
teacher (--teacher) adds its full-attention outputs to the labels. With bags of plain images they
are the only labels, which adapts a checkpoint to a camera. Ctrl-C leaves a checkpoint, and --resume
continues from it. Curves: tensorboard --logdir OUT.
"""

import argparse
import json
from pathlib import Path

from infinitevggt_core import VGGT, ModelConfig
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.model.checkpoint import CheckpointError, load_checkpoint
from infinitevggt_core.training import (
    ClipSource,
    DivergedError,
    RunState,
    TrainConfig,
    Trainer,
    TrainReport,
    initialise,
    processes,
)
from infinitevggt_core.training.feed import Mixture, NoClipsError
from infinitevggt_core.training.schedule import count_sizes
from infinitevggt_core.training.state import STATE_NAME
from infinitevggt_core.worlds import LEVELS
from infinitevggt_ros.commands.option_arguments import add_options, apply_options
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.training.sources import build_sources

EXAMPLE = "infinitevggt train --out runs/tiny --source worlds --level easy --minutes 30"
OPTIONS_NAME = "options.json"
KEPT = ("source", "level", "teacher")
"""Options that a resumed run takes from the run before, by default."""


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, help="directory of the run")
    add("--resume", action="store_true", help="continue the run in OUT")
    add(
        "--source",
        nargs="+",
        metavar="worlds|bag:PATH",
        help="sources of clips; the last tenth of a bag is for validation (default: worlds)",
    )
    add(
        "--level",
        nargs="+",
        choices=LEVELS,
        help=(
            "levels of the worlds; a level given twice is drawn twice as often (default: standard)"
        ),
    )
    add("--teacher", metavar="CHECKPOINT", help="frozen network whose outputs are labels")
    add("--init", metavar="CHECKPOINT", help="initial weights (default: tiny, random)")
    add("--device", default="auto", help="torch device; auto: cuda if available, else cpu")
    add_options(parser, TrainConfig)


def run(options: argparse.Namespace) -> int:
    state = _saved_state(options.out) if options.resume else None
    if state is None:
        _refuse_to_replace(options.out)
    try:
        with processes(options.device) as joined:
            _complete(options, joined.is_first)
            config = apply_options(state.config if state else TrainConfig(), options)
            teacher = load_checkpoint(options.teacher) if options.teacher else None
            training, validation = build_sources(
                options.source,
                options.level,
                joined.device,
                labels_needed=teacher is None,
                batch_frames=config.clips.batch_frames
                / count_sizes(config.clips, ModelConfig.tiny().patch_size),
            )
            trainer = Trainer(
                _network(options, state, config),
                _one(training),
                config,
                options.out,
                validation=_one(validation),
                teacher=teacher,
                processes=joined,
            )
            if state:
                trainer.resume(state)
            report = trainer.run()
            if joined.is_first:
                print(_summary(report, options.out))
    except NoClipsError as error:
        shorter = "show shorter clips (--frames-last, --stride-last), or --validation-clips 0"
        raise CommandError(f"{error}. A bag may be too short: {shorter}") from error
    except (CheckpointError, DivergedError) as error:
        raise CommandError(str(error)) from error
    return 0


def _network(options: argparse.Namespace, state: RunState | None, config: TrainConfig) -> VGGT:
    if state:
        return VGGT(state.model_config)
    if options.init:
        return load_checkpoint(options.init)
    return initialise(ModelConfig.tiny(), config.seed, config.student.layer_scale)


def _one(sources: list[ClipSource]) -> ClipSource:
    return sources[0] if len(sources) == 1 else Mixture(sources)


def _saved_state(out: Path) -> RunState:
    try:
        return RunState.load(out)
    except FileNotFoundError as error:
        raise CommandError(f"{out} has no {STATE_NAME} to resume: leave out --resume") from error


def _refuse_to_replace(out: Path) -> None:
    if (out / STATE_NAME).exists():
        raise CommandError(f"{out} holds a run: add --resume to go on, or choose another --out")


def _complete(options: argparse.Namespace, is_first: bool) -> None:
    """Fill in missing options from the resumed run or from the defaults."""
    path = options.out / OPTIONS_NAME
    saved = {"source": ["worlds"], "level": ["standard"], "teacher": None}
    if options.resume and path.exists():
        saved |= json.loads(path.read_text())
        if isinstance(saved["level"], str):  # a run of an earlier version
            saved["level"] = [saved["level"]]
    for name in KEPT:
        if getattr(options, name) is None:
            setattr(options, name, saved[name])
    if is_first:
        options.out.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_text(json.dumps({name: getattr(options, name) for name in KEPT}))


def _summary(report: TrainReport, out: Path) -> str:
    how = "finished" if report.finished else "stopped (go on with --resume)"
    rate = report.frames / max(report.seconds, 1e-9)
    skipped = ", ".join(f"{count} {reason}" for reason, count in report.skipped.items()) or "none"
    lines = [
        f"{how} at step {report.step}: {report.frames} frames in {report.seconds / 60:.1f} min "
        f"({rate:.1f} frames/s), clips skipped: {skipped}",
        f"weights: {out / 'last.safetensors'}",
    ]
    if report.metrics:
        lines += [f"{name}: {value:.4f}" for name, value in report.metrics.scalars().items()]
    return "\n".join(lines)
