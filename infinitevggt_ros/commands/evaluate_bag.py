# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt evaluate bag` and `evaluate dataset`: arguments and the common run."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from infinitevggt_core import MapConfig, MemoryConfig
from infinitevggt_ros.commands.option_arguments import (
    add_options,
    add_threads,
    apply_options,
    option_fields,
)
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.params.settings import InputSettings, ModelSettings, Settings

BAG_EXAMPLE = (
    "infinitevggt evaluate bag run.mcap --out report --policy diversity,window "
    "--total-budget 100000,300000"
)
DATASET_EXAMPLE = "infinitevggt evaluate dataset 7scenes 7scenes/chess --stride 2 --frames 500"
DATASETS = ("tum", "7scenes", "nrgbd", "bonn", "long3d", "kitti", "sintel")
SWEPT = ("policy", "total_budget")


def configure_bag(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bags", type=Path, nargs="+", metavar="BAG", help="rosbag2 directory, .mcap, .db3 or .bag")
    add(
        "--image", default="", metavar="TOPIC", help="images; default: the colour camera of the bag"
    )
    add(
        "--truth",
        default="",
        metavar="TOPIC",
        help="true poses: transforms, Odometry, PoseStamped or TransformStamped; default: found in "
        "the bag",
    )
    add(
        "--truth-frame",
        default="",
        metavar="FRAME",
        help="frame whose pose --truth is, if its messages do not name it or name it wrongly",
    )
    add(
        "--depth",
        default="",
        metavar="TOPIC",
        help="true depth images; default: those in the frame of the images",
    )
    add_run_arguments(parser, result_bag=True)


def configure_dataset(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("dataset", choices=DATASETS, help="layout of the files")
    add("path", type=Path, help="folder of a sequence, or of several")
    add("--start", type=int, default=0, help="first frame")
    add("--stride", type=int, default=1, help="use every N-th frame")
    add("--frames", type=int, default=0, help="largest number of frames; 0: all")
    add_run_arguments(parser, result_bag=False)


def add_run_arguments(parser: argparse.ArgumentParser, *, result_bag: bool) -> None:
    """Add the arguments of both kinds."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("report"), help="folder of the results")
    add("--overwrite", action="store_true", help="replace the run in --out")
    specs = {spec.name: spec for spec in option_fields(MemoryConfig)}
    add(
        "--policy",
        type=_policies,
        default=[specs["policy"].default],
        metavar="A,B",
        help="memory policy, or several for a sweep: "
        f"{', '.join(specs['policy'].metadata['choices'])} (default: {specs['policy'].default})",
    )
    add(
        "--total-budget",
        type=_budgets,
        default=[specs["total_budget"].default],
        metavar="N,M",
        help="tokens kept over all global layers, or several values for a sweep "
        f"(default: {specs['total_budget'].default})",
    )
    add_options(parser, MemoryConfig, without=SWEPT)
    add_options(parser, MapConfig)
    add_options(parser, ModelSettings, without=["threads"])  # add_threads
    intrinsics = next(spec for spec in option_fields(InputSettings) if spec.name == "intrinsics")
    add(
        "--intrinsics",
        choices=intrinsics.metadata["choices"],
        default=intrinsics.default,
        help="intrinsics that unproject depth",
    )
    add(
        "--state",
        default="",
        metavar="FILE",
        help="start in the map that a node has saved with ~/save_state",
    )
    add(
        "--localization-only",
        action="store_true",
        help="find the camera in the map of --state and leave that map as it is",
    )
    add(
        "--result-bag",
        action=argparse.BooleanOptionalAction,
        default=result_bag,
        help=f"write result.mcap with the messages of a node (default: {result_bag})",
    )
    add_threads(parser)
    add(
        "--ray",
        metavar="ADDRESS",
        help="distribute whole runs over this Ray cluster, HOST:PORT; auto: that of this machine",
    )


def run_bags(options: argparse.Namespace) -> int:
    from infinitevggt_ros.evaluation.bag_source import BagSpec

    specs = [
        BagSpec(bag.resolve(), options.image, options.truth, options.truth_frame, options.depth)
        for bag in options.bags
    ]
    names = [bag.stem for bag in options.bags]
    if len(set(names)) < len(names):
        raise CommandError(f"two bags have the same name ({', '.join(names)}): rename one")
    return run_all(list(zip(names, specs, strict=True)), options)


def run_dataset(options: argparse.Namespace) -> int:
    from infinitevggt_ros.evaluation.dataset_source import DatasetSpec, sequence_names

    if options.start < 0 or options.stride < 1 or options.frames < 0:
        raise CommandError("--start and --frames must be 0 or more, --stride 1 or more")
    path = options.path.resolve()
    selection = (options.start, options.stride, options.frames)
    names = sequence_names(options.dataset, path)
    specs = [DatasetSpec(options.dataset, path, name, *selection) for name in names]
    return run_all(list(zip(names, specs, strict=True)), options)


def run_all(specs: list[tuple[str, Any]], options: argparse.Namespace) -> int:
    """Run every source with every setting, then write the page."""
    from infinitevggt_ros.evaluation.cluster import run_on_ray
    from infinitevggt_ros.evaluation.page import write_page
    from infinitevggt_ros.evaluation.summary import summary, weights_notes
    from infinitevggt_ros.evaluation.sweep import jobs_of, run_here

    jobs = jobs_of(
        specs,
        settings_of(options),
        options.policy,
        options.total_budget,
        options.out.resolve(),
        result_bag=options.result_bag,
        threads=options.threads,
    )
    prepare(jobs, options.overwrite)
    sources = {}
    for _, spec in specs:
        sources[spec] = spec.open()
        print_choices(sources[spec].chosen)
    done = run_on_ray(jobs, options.ray) if options.ray else run_here(jobs, sources)
    if not done:
        print("interrupted; the same command continues from here")
        return 130
    runs = write_page(options.out, jobs)
    print("\n".join([summary(runs), *weights_notes(runs)]))
    print(f"{options.out / 'index.html'}: open it in a browser; metrics.json has all figures")
    return 0


def settings_of(options: argparse.Namespace) -> Settings:
    settings = Settings()
    if options.localization_only and not options.state:
        raise CommandError("--localization-only needs --state, the map to find the camera in")
    # absolute, because jobs may run in other folders
    state = str(Path(options.state).resolve()) if options.state else ""
    try:
        return replace(
            settings,
            state=replace(settings.state, path=state),
            pose=replace(settings.pose, localization_only=options.localization_only),
            input=replace(settings.input, intrinsics=options.intrinsics),
            model=apply_options(settings.model, options),
            memory=apply_options(settings.memory, _without_swept(options)),
            map=apply_options(settings.map, options),
        )
    except ValueError as error:
        raise CommandError(str(error)) from error


def prepare(jobs: list[Any], overwrite: bool) -> None:
    """Check the folders before the first run. Raises CommandError if one holds another run."""
    for job in jobs:
        if overwrite and job.out.exists():
            _clear(job)
        if job.is_done():
            print(f"{job.out.name}: done already; --overwrite runs it again")


def _clear(job: Any) -> None:
    """Remove the files of a run, and nothing else."""
    from infinitevggt_ros.evaluation.sweep import JOB

    if not (job.out / JOB).exists():
        return
    for name in (JOB, "metrics.json", "snapshot.pt", "journal", "series.npz"):
        (job.out / name).unlink(missing_ok=True)


def print_choices(chosen: dict[str, Any]) -> None:
    for name, value in chosen.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        print(f"{name + ':':<13}{'none' if shown is None else shown}")


def _without_swept(options: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(**{k: v for k, v in vars(options).items() if k not in SWEPT})


def _policies(text: str) -> list[str]:
    choices = next(s for s in option_fields(MemoryConfig) if s.name == "policy").metadata["choices"]
    names = text.split(",")
    if unknown := [name for name in names if name not in choices]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} must be one of {', '.join(choices)}")
    return list(dict.fromkeys(names))


def _budgets(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} must be a list of numbers N,M") from error
