# SPDX-License-Identifier: Apache-2.0
"""Stream a webcam, a network stream, a video, a directory of images or a bag, without ROS.

SOURCE is the number of a webcam (0), a URL (rtsp://camera/stream), a video file, a directory or a
bag. Ctrl-C ends the run with all results written: trajectory.tum, map.ply, map.pcd, run.json and
the keyframes, from which `infinitevggt export` makes files for other tools.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from infinitevggt_core import MapConfig, MemoryConfig, StreamSession
from infinitevggt_core.io.machine import device_name
from infinitevggt_core.model.model_card import model_note
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_ros.commands.option_arguments import add_options, add_threads, apply_options
from infinitevggt_ros.commands.viewer import open_page
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.live.calibration_file import info_of_fov, read_camera_file
from infinitevggt_ros.live.run_folder import RunWriter
from infinitevggt_ros.live.sources import FrameSource, SourceFrame, open_frames
from infinitevggt_ros.live.stream import LiveFrame, LiveStream
from infinitevggt_ros.params.model_loading import load_model
from infinitevggt_ros.params.settings import ModelSettings
from infinitevggt_ros.viewer.local import LocalViewer
from infinitevggt_ros.viewer.options import ViewerOptions

EXAMPLE = "infinitevggt run walk.mp4 --fov 70 --out walk --viewer"
INTERRUPTED = 130
SHOWN_MAP_POINTS = 200_000


def configure(parser: argparse.ArgumentParser) -> None:
    view = ViewerOptions()
    add = parser.add_argument
    add("source", metavar="SOURCE", help="webcam number, URL, video file, directory or bag")
    add("--out", type=Path, help="folder of the results; default: none are written")
    add("--viewer", action="store_true", help="serve a web page that shows the stream")
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
    if options.frames < 0:
        raise CommandError("--frames must be 0 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    source = open_frames(options.source, _say, options.image)
    writer = RunWriter(options.out) if options.out else None
    settings: dict[str, Any] = {
        "model": apply_options(ModelSettings(), options),
        "memory": apply_options(MemoryConfig(), options),
        "map": apply_options(MapConfig(), options),
    }
    model = _model(settings["model"])
    log, stop = RunLog(options.frames), Stop()

    def opened(frame: SourceFrame) -> LiveStream:
        info = _calibration(options, source, frame)
        parts = settings["memory"], settings["map"]
        return LiveStream(model, *parts, info=info, sink=writer, say=_say)

    with _viewer(options) as viewer, stop.caught(), ExitStack() as stack:
        stream = _stream_all(source, log, stop, opened, viewer)
        if stream is None or not log.used:
            raise CommandError(f"{options.source}: no image could be used{log.reason}")
        stack.enter_context(closing(stream))
        if writer:
            figures = {"source": options.source, **log.figures(), "loops": stream.mapper.loops}
            used = {name: asdict(value) for name, value in settings.items()}
            writer.finish(stream, {**figures, **used, "machine": device_name(model.device)})
        print(log.summary(stream, options.out))
    return INTERRUPTED if stop.is_set else 0


def _stream_all(
    source: FrameSource,
    log: "RunLog",
    stop: "Stop",
    opened: Callable[[SourceFrame], LiveStream],
    viewer: LocalViewer | None,
) -> LiveStream | None:
    """Process all images; return the stream, None if there was no image."""
    stream: LiveStream | None = None
    with tqdm(total=source.count, unit="image", disable=None) as bar:
        for frame in source.frames(lambda: stop.is_set or log.is_full):
            stream = stream or opened(frame)
            if log.process(stream, frame) and viewer:
                _show(viewer, stream, log)
            bar.update()
    return stream


def _model(settings: ModelSettings) -> VGGT:
    try:
        model = load_model(settings)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if note := model_note(settings.source):
        _say(f"note: {note}")
    return model


class Stop:
    """The first Ctrl-C ends the run with all results; the second ends it at once."""

    def __init__(self) -> None:
        self.is_set = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, *_: object) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True


class RunLog:
    """Numbers of a run."""

    def __init__(self, most: int) -> None:
        """most: number of images after which the run is full; 0 for no limit."""
        self.used = 0
        self.latest: LiveFrame | None = None
        self._most = most
        self._refused = 0
        self._reason = ""
        self._times_ms: list[float] = []
        self._states: dict[str, int] = {}
        self._start_s = time.monotonic()

    @property
    def is_full(self) -> bool:
        return bool(self._most) and self.used + self._refused >= self._most

    @property
    def reason(self) -> str:
        """Reason of the latest refused image, after a colon; empty if there is none."""
        return f": {self._reason}" if self._reason else ""

    def process(self, stream: LiveStream, frame: SourceFrame) -> bool:
        """Process one image; return False if it was refused."""
        try:
            self.latest = stream.process(frame)
        except ValueError as error:
            self._refused += 1
            if str(error) != self._reason:
                self._reason = str(error)
                _say(f"image at {frame.stamp_ns / 1e9:.3f} s refused: {error}")
            return False
        self.used += 1
        self._times_ms.append(self.latest.latency_ms)
        self._states[self.latest.state] = self._states.get(self.latest.state, 0) + 1
        return True

    def figures(self) -> dict[str, Any]:
        """Return the numbers for run.json."""
        return {
            "frames_used": self.used,
            "frames_refused": self._refused,
            "latency_ms": {
                "p50": float(np.percentile(self._times_ms, 50)),
                "p95": float(np.percentile(self._times_ms, 95)),
            },
            "tracking": self._states,
        }

    def summary(self, stream: LiveStream, out: Path | None) -> str:
        """Return a few lines for the user."""
        session: StreamSession = stream.session
        lines = [
            f"{self.used} images used, {self._refused} refused; "
            f"{np.median(self._times_ms):.0f} ms an image, {stream.mapper.loops} loops",
            f"memory: policy {session.memory.policy}, {sum(session.stored_tokens)} tokens, "
            f"{session.memory_bytes / 1e6:.1f} MB; map: {len(stream.map)} points",
        ]
        if out:
            lines.append(f"{out}: trajectory.tum, map.ply, map.pcd, run.json, keyframes/")
        return "\n".join(lines)


def _calibration(options: argparse.Namespace, source: FrameSource, frame: SourceFrame) -> Any:
    if options.camera:
        return read_camera_file(options.camera)
    if options.fov is not None:
        return info_of_fov(options.fov, (frame.rgb.shape[0], frame.rgb.shape[1]))
    return source.calibration


@contextmanager
def _viewer(options: argparse.Namespace) -> Iterator[LocalViewer | None]:
    """Serve the page if it is asked for."""
    if not options.viewer:
        yield None
        return
    view = replace(ViewerOptions(), node=options.source, host=options.host, port=options.port)
    page = open_page(view)
    try:
        yield LocalViewer(page, view)
    finally:
        page.close()


def _show(viewer: LocalViewer, stream: LiveStream, log: RunLog) -> None:
    latest, session = log.latest, stream.session
    assert latest is not None
    is_due = viewer.show_frame(
        latest.camera_from_map,
        latest.depth,
        latest.depth_matrix,
        memory_bytes=session.memory_bytes,
        tokens=sum(session.stored_tokens),
        budget=session.budget,
        latency_ms=latest.latency_ms,
        inference_ms=latest.inference_ms,
    )
    if not is_due:
        return
    state = f"{log.used} images used, {latest.state}, {stream.mapper.loops} loops"
    viewer.show_trajectory(stream.trajectory()[1], [state])
    loops = [edge.key for edge in stream.mapper.loop_edges() if edge.accepted]
    viewer.show_graph(stream.mapper.keyframe_poses(), loops)
    if viewer.wants_map():
        cloud = stream.map.cloud(SHOWN_MAP_POINTS)
        viewer.show_map(cloud.positions.numpy(), cloud.colors.numpy())


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
