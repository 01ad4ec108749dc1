# SPDX-License-Identifier: Apache-2.0
"""Images of a webcam, a network stream, a video file, a directory or a bag, without ROS."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_ros.bags.camera_topics import choose_topics
from infinitevggt_ros.bags.image_bag import frame_stamp_ns
from infinitevggt_ros.bags.image_source import open_source
from infinitevggt_ros.bags.message_types import typestore_with
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.calibration import CameraInfo

FILE_RATE_HZ = Fraction(10)
START_NS = 10**9
"""Stamp of the first image of files, as no stamp may be 0."""
BAG_SUFFIXES = (".mcap", ".db3", ".bag")
RETRY_S, SAY_EVERY_S = 1.0, 10.0
"""Pause between two attempts to open a camera, and between two messages about it."""
SILENT_S = 5.0
"""A camera without an image for this time is opened again."""
CONVERSIONS = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8UC1": cv2.COLOR_GRAY2RGB,
    "8UC3": cv2.COLOR_BGR2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
    "yuyv": cv2.COLOR_YUV2RGB_YUYV,
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
"""Conversion of OpenCV to RGB by encoding of sensor_msgs/Image."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """One image with its stamp."""

    stamp_ns: int
    rgb: NDArray[np.uint8]
    """(H, W, 3)."""


class FrameSource(Protocol):
    """Images of one camera in order."""

    name: str
    count: int | None
    """Number of images; None if it is unknown or endless."""
    calibration: CameraInfo | None

    def frames(self, stopped: Callable[[], bool]) -> Iterator[SourceFrame]:
        """Yield images until the end or until `stopped` returns True."""
        ...


class FileFrames:
    """Image files of a directory, or the frames of a video file."""

    def __init__(self, path: Path, say: Say) -> None:
        self.name = path.stem
        self.calibration: CameraInfo | None = None
        self._source = open_source(path)
        self._say = say
        self.count = self._source.count

    def frames(self, stopped: Callable[[], bool]) -> Iterator[SourceFrame]:
        rate = self._source.rate_hz or FILE_RATE_HZ
        last_ns = START_NS - 1
        for image in self._source.images(self._say):
            if stopped():
                return
            time_ns = image.time_ns
            if time_ns is None:
                time_ns = frame_stamp_ns(0, image.index, rate)
            last_ns = max(START_NS + time_ns, last_ns + 1)
            yield SourceFrame(last_ns, _rgb_from_bgr(image.pixels))


class BagFrames:
    """Images of the colour camera of a bag."""

    def __init__(self, path: Path, say: Say, topic: str = "") -> None:
        self.name = path.stem
        self._path, self._say = path, say
        with BagReader(path) as reader:
            topics = choose_topics(reader, image=topic)
            self._topic, self._kind = topics.image, reader.topics[topics.image]
            self.count: int | None = reader.message_counts[topics.image]
            self.calibration = _first_info(reader, topics.info)
            for note in [*reader.notes, *topics.notes]:
                say(note)

    def frames(self, stopped: Callable[[], bool]) -> Iterator[SourceFrame]:
        with BagReader(self._path) as reader:
            for _, _, serialized in reader.messages([self._topic]):
                if stopped():
                    return
                message: Any = typestore_with().deserialize_cdr(serialized, self._kind)
                stamp = message.header.stamp
                stamp_ns = stamp.sec * 10**9 + stamp.nanosec
                try:
                    yield SourceFrame(stamp_ns, rgb_from_message(message))
                except (ValueError, cv2.error) as error:
                    self._say(f"image at {stamp_ns / 1e9:.3f} s left out: {error}")


class CameraFrames:
    """Newest images of a webcam or a network stream; images that come during inference are dropped.

    A camera that vanishes is waited for.
    """

    def __init__(
        self,
        address: int | str,
        say: Say,
        open_capture: Callable[[int | str], Any] | None = None,
    ) -> None:
        self.name = f"camera{address}" if isinstance(address, int) else "stream"
        self.count: int | None = None
        self.calibration: CameraInfo | None = None
        self._address, self._say = address, say
        self._open: Callable[[Any], Any] = open_capture or cv2.VideoCapture
        self._ready = Condition()
        self._latest: SourceFrame | None = None
        self._is_closed = False

    def frames(self, stopped: Callable[[], bool]) -> Iterator[SourceFrame]:
        thread = Thread(target=self._read, daemon=True)
        thread.start()
        try:
            while not stopped():
                with self._ready:
                    self._ready.wait(0.1)
                    frame, self._latest = self._latest, None
                if frame is not None:
                    yield frame
        finally:
            self._is_closed = True
            thread.join(SILENT_S)

    def _read(self) -> None:
        said_s = -SAY_EVERY_S
        while not self._is_closed:
            capture = self._open(self._address)
            seen = self._read_until_silent(capture) if capture.isOpened() else 0
            capture.release()
            if self._is_closed:
                return
            now_s = time.monotonic()
            if seen or now_s - said_s >= SAY_EVERY_S:
                said_s = now_s
                self._say(f"{self._address} sends no images: waiting for it; Ctrl-C ends the run")
            time.sleep(RETRY_S)

    def _read_until_silent(self, capture: Any) -> int:
        """Keep the newest image; return the number of images before the camera vanished."""
        count = 0
        while not self._is_closed:
            decoded, pixels = capture.read()
            if not decoded:
                return count
            count += 1
            with self._ready:
                self._latest = SourceFrame(time.time_ns(), _rgb_from_bgr(pixels))
                self._ready.notify()
        return count


def open_frames(source: str, say: Say, topic: str = "") -> FrameSource:
    """Open a source by its name: a number for a webcam, a URL, a bag, a directory or a video.

    Raises CommandError.
    """
    if source.isdecimal():
        return CameraFrames(int(source), say)
    if "://" in source:
        return CameraFrames(source, say)
    path = Path(source)
    if path.suffix in BAG_SUFFIXES or (path / "metadata.yaml").exists():
        return BagFrames(path, say, topic)
    if not path.exists():
        raise CommandError(
            f"{source} does not exist: give a webcam's number, a URL such as rtsp://camera/stream, "
            "a video file, a directory of images or a bag"
        )
    return FileFrames(path, say)


def rgb_from_message(message: Any) -> NDArray[np.uint8]:
    """Convert a deserialized Image or CompressedImage to RGB (H, W, 3). Raises ValueError."""
    if hasattr(message, "format"):
        pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ValueError(f"{message.format} that OpenCV cannot read")
        return _rgb_from_bgr(pixels)
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    encoding = message.encoding
    if encoding in ("mono16", "16UC1"):
        order = ">u2" if message.is_bigendian else "<u2"
        values = rows[:, : 2 * message.width].copy().view(order)
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if encoding != "rgb8" and encoding not in CONVERSIONS:
        raise ValueError(f"encoding {encoding} is not one of {', '.join(['rgb8', *CONVERSIONS])}")
    channels = 1 if "bayer" in encoding or encoding in ("mono8", "8UC1") else 3
    channels = {"rgba8": 4, "bgra8": 4}.get(encoding, 2 if encoding.startswith("y") else channels)
    channels = 2 if encoding in ("uyvy", "yuyv") else channels
    pixels = rows[:, : channels * message.width].reshape(message.height, message.width, channels)
    if encoding == "rgb8":
        return pixels
    return np.asarray(cv2.cvtColor(pixels, CONVERSIONS[encoding]), dtype=np.uint8)


def _rgb_from_bgr(pixels: np.ndarray) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    code = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, code), dtype=np.uint8)


def _first_info(reader: BagReader, topic: str) -> CameraInfo | None:
    for _, _, serialized in reader.messages([topic]) if topic else ():
        info: Any = typestore_with().deserialize_cdr(serialized, reader.topics[topic])
        found: CameraInfo = info
        return found
    return None
