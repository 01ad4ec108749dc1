# SPDX-License-Identifier: Apache-2.0
"""Reading the files of data sets; what is wrong with one is said in a line that names it."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
SHORTEST_QUATERNION = 0.5
"""A quaternion at least this long is normalised. A shorter one is no rotation."""


class DatasetError(ValueError):
    """Data that cannot be used; the message names the file and what is wrong with it."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB."""
    return np.asarray(_opened(path).convert("RGB"))


def read_depth_png(
    path: Path, per_metre: float, unknown: tuple[int, ...] = (0,)
) -> NDArray[np.float32]:
    """(H, W) metres of a 16-bit PNG of `per_metre` steps a metre; 0 where it has an `unknown`."""
    image = _opened(path)
    if not image.mode.startswith("I"):
        raise DatasetError(f"{path} is no 16-bit depth image: its mode is {image.mode}")
    steps = np.asarray(image, dtype=np.float32)
    return np.where(np.isin(steps, unknown), np.float32(0), steps / np.float32(per_metre))


def _opened(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise DatasetError(f"{path} is damaged or truncated: {error}") from error
    return image


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file without comments and empty lines. Raises DatasetError.

    A byte order mark is skipped. Bytes that are no UTF-8, as in old comments, are kept as they are.
    """
    try:
        lines = path.read_text("utf-8-sig", errors="surrogateescape").splitlines()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    stripped = [line.strip() for line in lines]
    return [line for line in stripped if line and not line.startswith("#")]


def words_in(line: str) -> list[str]:
    """Return the columns of a line, separated by spaces, tabs or commas."""
    return line.replace(",", " ").split()


def numbers_in(words: Sequence[str], path: Path) -> list[float]:
    """Return columns as numbers. Raises DatasetError."""
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise DatasetError(f"{path}: numbers expected, got {' '.join(words)!r}") from error


def read_numbers(path: Path, columns: int) -> Array:
    """(N, columns) of a text file."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        words = words_in(line)
        if len(words) != columns:
            raise DatasetError(f"{path}, row {number}: {columns} numbers expected, got {line!r}")
        rows.append(numbers_in(words, path))
    if not rows:
        raise DatasetError(f"{path} has no numbers")
    return np.array(rows)


def read_matrix(path: Path) -> Array:
    """(4, 4) of a text file."""
    matrix = read_numbers(path, 4)
    if matrix.shape != (4, 4):
        raise DatasetError(f"{path} is no 4 x 4 matrix: it has {len(matrix)} rows")
    return matrix


def stamp_ns(text: str, path: Path) -> int:
    """Return a stamp in seconds, exactly: no float has nine digits after the point today.

    Raises DatasetError for a stamp that ROS cannot state: less than 0 or 2^63 ns and more.
    """
    try:
        stamp = int(Decimal(text) * 10**9)
    except (InvalidOperation, ValueError, OverflowError) as error:  # text, nan, inf
        raise DatasetError(f"{path}: {text!r} is no stamp") from error
    if not 0 <= stamp < 2**63:
        raise DatasetError(f"{path}: {text!r} is no stamp")
    return stamp


def camera_from_world(world_from_camera: Array) -> Array:
    """(4, 4) or (3, 4) -> (3, 4); NaN where it is no rigid motion, as some data sets mark loss."""
    rotation, position = world_from_camera[:3, :3], world_from_camera[:3, 3]
    if not np.isfinite(world_from_camera[:3]).all():
        return np.full((3, 4), np.nan)
    return np.concatenate((rotation.T, -rotation.T @ position[:, None]), axis=1)


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Array:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of their names. Raises DatasetError."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is missing")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DatasetError(f"{folder} has no images ({', '.join(IMAGE_SUFFIXES)})")
    return found


def folders_with(path: Path, marker: str, layout: str) -> list[Path]:
    """`path` itself, or the folders in it (or in those) that hold `marker`, a glob."""
    for depth in ("", "*/", "*/*/"):
        pattern = f"{depth}{marker}"
        levels = marker.count("/") + 1
        found = sorted({match.parents[levels - 1] for match in path.glob(pattern)})
        if found:
            return found
    raise DatasetError(f"{path} holds no {marker}: expected {layout}")
