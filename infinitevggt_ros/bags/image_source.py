# SPDX-License-Identifier: Apache-2.0
"""Images from a directory or a video file, in order, upright, as a camera would deliver them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from infinitevggt_ros.errors import CommandError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8"


@dataclass(frozen=True)
class SourceImage:
    """One image: (height, width, 3) uint8 in BGR, or (height, width) uint8 or uint16."""

    index: int  # position in the source, broken images counted
    pixels: np.ndarray
    encoded: bytes | None = None  # a jpeg or png file that shows exactly these pixels

    @property
    def encoded_format(self) -> str:
        """ "jpeg" or "png", the format of `encoded`."""
        return "jpeg" if (self.encoded or b"").startswith(_JPEG_MAGIC) else "png"


class ImageDirectory:
    """The image files of a directory, in natural order (frame2 before frame10)."""

    def __init__(self, path: Path) -> None:
        self.rate_hz: Fraction | None = None
        self.skipped = 0
        self._files = sorted(
            (
                file
                for file in path.iterdir()
                if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
            ),
            key=lambda file: _natural_key(file.name),
        )
        if not self._files:
            raise CommandError(f"no image in {path}: it needs {', '.join(SUFFIXES)} files")

    @property
    def count(self) -> int | None:
        return len(self._files)

    def images(self, report: Callable[[str], None]) -> Iterator[SourceImage]:
        """Every readable image; a broken file is named in a line to `report`."""
        for index, file in enumerate(self._files):
            try:
                yield _read(file, index)
            except (ValueError, OSError, cv2.error) as error:
                self.skipped += 1
                report(f"skipped {file}: {error}")


class VideoFile:
    """The frames of a video file, as far as they can be decoded."""

    def __init__(self, path: Path) -> None:
        self.skipped = 0
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise CommandError(
                f"{path} is neither a directory of images nor a video that OpenCV can read"
            )

    @property
    def rate_hz(self) -> Fraction | None:
        """Frames per second, None where the file does not say."""
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        if not np.isfinite(rate_hz) or rate_hz <= 0:
            return None
        return Fraction(rate_hz).limit_denominator(10_000)  # 30000/1001 survives exactly

    @property
    def count(self) -> int | None:
        """Frames the file announces, None where it does not say."""
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))) or None

    def images(self, report: Callable[[str], None]) -> Iterator[SourceImage]:
        """Every frame up to the end or the first that cannot be decoded."""
        del report
        index = 0
        while True:
            decoded, pixels = self._capture.read()
            if not decoded:
                return
            yield SourceImage(index, pixels)
            index += 1


def open_source(path: Path) -> ImageDirectory | VideoFile:
    """The images of a directory or of a video file."""
    if not path.exists():
        raise CommandError(f"{path} does not exist: give a directory of images or a video file")
    if path.is_dir():
        return ImageDirectory(path)
    if path.suffix.lower() in SUFFIXES:
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
    keeps = encoded.startswith((_JPEG_MAGIC, _PNG_MAGIC)) and not _is_turned(encoded, pixels)
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
    """Whether an EXIF note turns the image, which not every reader of the bytes would follow."""
    if b"Exif" not in encoded[: 1 << 16] and b"eXIf" not in encoded:
        return False
    return not np.array_equal(_decode(encoded, cv2.IMREAD_IGNORE_ORIENTATION), upright)


def _is_whole(encoded: bytes) -> bool:
    """Whether a jpeg or png has its end: OpenCV fills what is missing with gray, silently."""
    if encoded.startswith(_PNG_MAGIC):
        return b"IEND" in encoded
    if not encoded.startswith(_JPEG_MAGIC):
        return True
    position = len(_JPEG_MAGIC)
    while (marker := encoded[position : position + 2]) not in (b"\xff\xda", b""):
        if marker == b"\xff\xff":  # a fill byte
            position += 1
        else:
            position += 2 + int.from_bytes(encoded[position + 2 : position + 4], "big")
    return b"\xff\xd9" in encoded[position:]  # behind the header, where a thumbnail has its own
