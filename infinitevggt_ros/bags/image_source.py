# SPDX-License-Identifier: Apache-2.0
"""Images of a directory or a video file, in order and upright, as a camera would deliver them."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from infinitevggt_ros.errors import CommandError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
UNREADABLE_SUFFIXES = (".heic", ".heif", ".avif", ".dng", ".cr2", ".nef", ".arw", ".jxl", ".gif")
"""Images that OpenCV cannot decode: they are named instead of left out silently."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8"
Report = Callable[[str], None]


@dataclass(frozen=True)
class SourceImage:
    """One image: (height, width, 3) uint8 in BGR, or (height, width) uint8 or uint16."""

    index: int
    """Position in the source; broken images count."""
    pixels: np.ndarray
    encoded: bytes | None = None
    """JPEG or PNG file that shows exactly these pixels; None if there is none."""
    time_ns: int | None = None
    """Presentation time since the first frame of a video; None for files."""

    @property
    def encoded_format(self) -> str:
        """Format of `encoded`: "jpeg" or "png"."""
        return "jpeg" if (self.encoded or b"").startswith(JPEG_MAGIC) else "png"


class ImageDirectory:
    """Image files of a directory in natural order (frame2 before frame10)."""

    def __init__(self, path: Path) -> None:
        self.rate_hz: Fraction | None = None
        self.skipped = 0
        """Number of files that could not be read so far."""
        visible = [file for file in path.iterdir() if not file.name.startswith(".")]
        self._files = sorted(
            (file for file in visible if file.suffix.lower() in SUFFIXES),
            key=lambda file: _natural_key(file.name),
        )
        self._unreadable = Counter(
            file.suffix for file in visible if file.suffix.lower() in UNREADABLE_SUFFIXES
        )
        if not self._files:
            raise CommandError(
                f"no image in {path}: it needs {', '.join(SUFFIXES)} files{self._left_out()}"
            )

    @property
    def count(self) -> int | None:
        """Number of images."""
        return len(self._files)

    def images(self, report: Report) -> Iterator[SourceImage]:
        """Yield every readable image. report: called with one line for each broken file."""
        if self._unreadable:
            report(f"left out{self._left_out()}")
        for index, file in enumerate(self._files):
            try:
                yield _read(file, index)
            except (ValueError, OSError, cv2.error) as error:
                self.skipped += 1
                report(f"skipped {file}: {error}")

    def _left_out(self) -> str:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in self._unreadable.items())
        return f": {kinds} files, which OpenCV cannot read; convert them to JPEG" if kinds else ""


class VideoFile:
    """Frames of a video file, as far as they can be decoded."""

    def __init__(self, path: Path) -> None:
        self.skipped = 0
        self._path = path
        # FFmpeg takes a name such as 12:30.mp4 for a protocol unless the protocol is given
        self._capture = cv2.VideoCapture(f"file:{path.absolute()}", cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise CommandError(
                f"{path} is neither a directory of images nor a video that OpenCV can read"
            )

    @property
    def rate_hz(self) -> Fraction | None:
        """Mean number of frames per second; None if the file does not state it."""
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        if not np.isfinite(rate_hz) or rate_hz <= 0:
            return None
        return Fraction(rate_hz).limit_denominator(10_000)  # 30000/1001 survives exactly

    @property
    def count(self) -> int | None:
        """Number of frames that the file announces; None if it does not state it."""
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))) or None

    def images(self, report: Report) -> Iterator[SourceImage]:
        """Yield every frame up to the end or the first that cannot be decoded.

        report: called if there are fewer frames than the file announces.
        """
        index, first_ms, last_ms = 0, 0.0, -1.0
        while True:
            decoded, pixels = self._capture.read()
            if not decoded:
                break
            now_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            if index == 0:
                first_ms = now_ms
            known = index == 0 or now_ms > last_ms
            yield SourceImage(
                index, pixels, time_ns=round((now_ms - first_ms) * 1e6) if known else None
            )
            index, last_ms = index + 1, now_ms
        if self.count is not None and index < self.count:
            report(
                f"{self._path}: {index} of {self.count} frames could be decoded: it is damaged or "
                "was cut short"
            )


def open_source(path: Path) -> ImageDirectory | VideoFile:
    """Return the images of a directory or of a video file. Raises CommandError."""
    if not path.exists():
        raise CommandError(f"{path} does not exist: give a directory of images or a video file")
    if path.is_dir():
        return ImageDirectory(path)
    if path.suffix.lower() in (*SUFFIXES, *UNREADABLE_SUFFIXES):
        raise CommandError(f"{path} is a single image: give the directory it is in")
    return VideoFile(path)


def _natural_key(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _read(file: Path, index: int) -> SourceImage:
    encoded = file.read_bytes()
    if not _is_whole(encoded):
        raise ValueError("the file is cut short")
    pixels = _decode(encoded)
    keeps = encoded.startswith((JPEG_MAGIC, PNG_MAGIC)) and not _is_turned(encoded, pixels)
    return SourceImage(index, _as_camera_pixels(pixels), encoded if keeps else None)


def _decode(encoded: bytes, flags: int = 0) -> np.ndarray:
    flags |= cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    if pixels is None:
        raise ValueError("not an image that OpenCV can read")
    return pixels


def _as_camera_pixels(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint16 and pixels.ndim == 3:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels of {pixels.dtype}, not 8 or 16 bits")
    return pixels


def _is_turned(encoded: bytes, upright: np.ndarray) -> bool:
    """Return True if EXIF data turns the image: not every reader of the file follows them."""
    if b"Exif" not in encoded[: 1 << 16] and b"eXIf" not in encoded:
        return False
    return not np.array_equal(_decode(encoded, cv2.IMREAD_IGNORE_ORIENTATION), upright)


def _is_whole(encoded: bytes) -> bool:
    """Return True if a JPEG or PNG has its end: OpenCV fills a missing part with gray silently."""
    if encoded.startswith(PNG_MAGIC):
        return b"IEND" in encoded
    if not encoded.startswith(JPEG_MAGIC):
        return True
    position = len(JPEG_MAGIC)
    while (marker := encoded[position : position + 2]) not in (b"\xff\xda", b""):
        if marker == b"\xff\xff":  # a fill byte
            position += 1
        else:
            position += 2 + int.from_bytes(encoded[position + 2 : position + 4], "big")
    return b"\xff\xd9" in encoded[position:]  # behind the header, where a thumbnail has its own
