# SPDX-License-Identifier: Apache-2.0
"""Stream a webcam, a network stream, a video, a directory of images or a bag, without ROS.

SOURCE is the number of a webcam (0), a URL (rtsp://camera/stream), a video file, a directory or a
bag. Ctrl-C ends the run with all results written: the page index.html, metrics.json,
trajectory.tum, corrected.tum, map.ply, map.pcd, the messages of a node in result.mcap, and the
keyframes, from which `infinitevggt export` makes files for other tools.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from infinitevggt_core import MapConfig, MemoryConfig, StreamSession
from infinitevggt_core.evaluation.datasets.files import DatasetError
from infinitevggt_core.evaluation.datasets.tum import read_poses
from infinitevggt_core.io.machine import device_name
from infinitevggt_core.model.model_card import model_note
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_ros.commands.live_view import LiveView
from infinitevggt_ros.commands.option_arguments import add_options, add_threads, apply_options
from infinitevggt_ros.commands.rerun_view import RerunView
from infinitevggt_ros.commands.viewer import open_page
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.frame_record import RESULT_BAG
from infinitevggt_ros.evaluation.live_bag import LiveBag
from infinitevggt_ros.evaluation.live_report import LiveReport
from infinitevggt_ros.export.run_folder import RunWriter
from infinitevggt_ros.interrupt import Interrupt
from infinitevggt_ros.live.calibration_file import info_of_fov, read_camera_file
from infinitevggt_ros.live.sources import FrameSource, SourceFrame, open_frames
from infinitevggt_ros.live.stream import LiveFrame, LiveStream
from infinitevggt_ros.params.model_loading import load_model
from infinitevggt_ros.params.settings import ModelSettings, Settings
from infinitevggt_ros.viewer.options import ViewerOptions

EXAMPLE = "infinitevggt run walk.mp4 --fov 70 --out walk --viewer"
INTERRUPTED = 130


class View(Protocol):
    """Shows a stream while it runs."""

    def show(self, live: LiveFrame, stream: LiveStream, used: int) -> None:
        """Show the stream after an image. used: number of images so far."""

    def finish(self, stream: LiveStream, used: int) -> None:
        """Show the final trajectory, keyframes, loops and map."""


def configure(parser: argparse.ArgumentParser) -> None:
    view = ViewerOptions()
    add = parser.add_argument
    add("source", metavar="SOURCE", help="webcam number, URL, video file, directory or bag")
    add("--out", type=Path, help="folder of the results; default: none are written")
    add(
        "--truth",
        type=Path,
        metavar="FILE",
        help="true poses of the camera, a TUM file, to compare",
    )
    add(
        "--result-bag",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"write {RESULT_BAG} with the messages of a node beside the other results",
    )
    add("--state", type=Path, metavar="FILE", help="start in the map of a node's ~/save_state")
    add(
        "--localization-only",
        action="store_true",
        help="find the camera in the map of --state and leave that map as it is",
    )
    add("--viewer", action="store_true", help="serve a web page that shows the stream")
    add(
        "--rerun",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="FILE.rrd",
        help="show the stream in the Rerun viewer, or write a recording for it; needs rerun-sdk",
    )
    add("--host", default=view.host, help="address of the page")
    add("--port", type=int, default=view.port, help="port of the page, or the next free one")
    add("--image", default="", metavar="TOPIC", help="images of a bag; default: the colour camera")
    add("--frames", type=int, default=0, metavar="N", help="stop after N images; 0: no limit")
    intrinsics = parser.add_mutually_exclusive_group()
    intrinsics.add_argument(
        "--camera", type=Path, metavar="FILE", help="calibration, a YAML file of camera_calibration"
    )
    intrinsics.add_argument(
        "--fov",
        type=float,
        metavar="DEG",
        help="horizontal field of view of a lens without distortion; default: estimated",
    )
    add_options(parser, MemoryConfig)
    add_options(parser, MapConfig)
    add_options(parser, ModelSettings, without=["threads"])  # add_threads
    add_threads(parser)


def run(options: argparse.Namespace) -> int:
    _check(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    source = open_frames(options.source, _say, options.image)
    settings: dict[str, Any] = {
        "model": apply_options(ModelSettings(), options),
        "memory": apply_options(MemoryConfig(), options),
        "map": apply_options(MapConfig(), options),
    }
    truth = _truth(options.truth) if options.truth else None
    model = _model(settings["model"])
    writer = RunWriter(options.out) if options.out else None
    bag = (
        LiveBag(options.out, Settings(**settings), _say)
        if options.out and options.result_bag
        else None
    )
    report, interrupt = LiveReport(bag), Interrupt()

    def opened(frame: SourceFrame) -> LiveStream:
        info = _calibration(options, source, frame)
        parts = settings["memory"], settings["map"]
        only = options.localization_only
        stream = LiveStream(model, *parts, info=info, sink=writer, say=_say, localization_only=only)
        if options.state:
            stream.start_in(options.state)
        return stream

    def stopped() -> bool:
        most = options.frames or float("inf")
        return interrupt.is_set() or report.used + report.refused >= most

    with _views(options) as views, interrupt.caught(), ExitStack() as stack:
        stack.callback(report.close)
        stream = _stream_all(source, report, stopped, opened, views)
        if stream is None or not report.used:
            reasons = "".join(f": {reason}" for reason in list(report.log.rejections)[-1:])
            raise CommandError(f"{options.source}: no image could be used{reasons}")
        stack.enter_context(closing(stream))
        if writer:
            settings["memory"] = stream.session.memory  # as set on the page
            used = {name: asdict(value) for name, value in settings.items()}
            figures = {"source": options.source, **_run_figures(report, stream), **used}
            chosen = {"name": source.name, "source": options.source}
            stream.finish()
            report.write(options.out, chosen, stream, used, truth)
            machine = {"machine": device_name(model.device)}
            writer.finish(stream.mapper.keyframe_poses(), {**figures, **machine})
        print(_summary(report, stream, options.out), flush=True)
        for view in views:
            view.finish(stream, report.used)
        if options.viewer and not interrupt.is_set():
            _say("the source has ended: Ctrl-C closes the page")
            interrupt.wait()
            return 0
    return INTERRUPTED if interrupt.is_set() else 0


def _check(options: argparse.Namespace) -> None:
    """Raise CommandError for options that do not go together."""
    if options.frames < 0:
        raise CommandError("--frames must be 0 or more")
    if options.localization_only and not options.state:
        raise CommandError("--localization-only needs --state, the map to find the camera in")
    if options.truth and not options.out:
        raise CommandError("--truth needs --out, where the errors are written")


def _stream_all(
    source: FrameSource,
    report: LiveReport,
    stopped: Callable[[], bool],
    opened: Callable[[SourceFrame], LiveStream],
    views: Sequence[View],
) -> LiveStream | None:
    """Process all images; return the stream, None if there was no image."""
    stream: LiveStream | None = None
    with tqdm(total=source.count, unit="image", disable=None) as bar:
        try:
            for frame in source.frames(stopped):
                stream = stream or opened(frame)
                if live := _process(stream, frame, report):
                    for view in views:
                        view.show(live, stream, report.used)
                bar.update()
        except CommandError as error:  # such as the damaged rest of a bag
            if not report.used:
                raise
            _say(f"the run ends after {report.used} images: {error}")
    return stream


def _truth(path: Path) -> dict[int, Any]:
    try:
        return read_poses(path)
    except DatasetError as error:
        raise CommandError(f"--truth: {error}") from error


def _model(settings: ModelSettings) -> VGGT:
    try:
        model = load_model(settings)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if note := model_note(settings.source):
        _say(f"note: {note}")
    return model


def _process(stream: LiveStream, frame: SourceFrame, report: LiveReport) -> LiveFrame | None:
    """Process one image; return None if it was refused."""
    try:
        live = stream.process(frame)
    except ValueError as error:
        if str(error) not in report.log.rejections:
            _say(f"image at {frame.stamp_ns / 1e9:.3f} s refused: {error}")
        report.refuse(frame.stamp_ns, str(error), stream)
        return None
    report.add(live, stream)
    return live


def _run_figures(report: LiveReport, stream: LiveStream) -> dict[str, Any]:
    """Return the numbers for run.json."""
    latency = report.log.figures()["latency_ms"]
    return {
        "frames_used": report.used,
        "frames_refused": report.refused,
        "latency_ms": {name: latency[name] for name in ("p50", "p95")},
        "tracking": report.states,
        "loops": stream.mapper.loops,
    }


def _summary(report: LiveReport, stream: LiveStream, out: Path | None) -> str:
    """Return a few lines for the user."""
    session: StreamSession = stream.session
    latency = report.log.figures()["latency_ms"]["p50"]
    lines = [
        f"{report.used} images used, {report.refused} refused; "
        f"{latency:.0f} ms an image, {stream.mapper.loops} loops",
        f"memory: policy {session.memory.policy}, {sum(session.stored_tokens)} tokens, "
        f"{session.memory_bytes / 1e6:.1f} MB; map: {len(stream.map)} points",
    ]
    if out:
        lines.append(f"{out / 'index.html'}: open it in a browser; keyframes for export beside it")
    return "\n".join(lines)


def _calibration(options: argparse.Namespace, source: FrameSource, frame: SourceFrame) -> Any:
    if options.camera:
        return read_camera_file(options.camera)
    if options.fov is not None:
        return info_of_fov(options.fov, (frame.rgb.shape[0], frame.rgb.shape[1]))
    return source.calibration


@contextmanager
def _views(options: argparse.Namespace) -> Iterator[list[View]]:
    """Open the views that are asked for."""
    views: list[View] = []
    with ExitStack() as stack:
        if options.rerun is not None:
            file = options.rerun if options.rerun.name else None
            views.append(stack.enter_context(closing(RerunView(file))))
        if options.viewer:
            view = replace(
                ViewerOptions(), node=options.source, host=options.host, port=options.port
            )
            page = open_page(view)
            stack.callback(page.close)
            views.append(LiveView(page, view))
        yield views


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
