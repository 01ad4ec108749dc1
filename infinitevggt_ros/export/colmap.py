# SPDX-License-Identifier: Apache-2.0
"""Write a run as a COLMAP model, text and binary.

Format: https://colmap.github.io/format.html. Poses are camera_from_world, pixels have their centre
at 0.5, and the world is that of the stream (OpenCV axes of the first camera).
"""

import shutil
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.export.run_folder import RunFolder, SavedKeyframe

LARGEST_ERROR_PX = 4.0
"""An observation farther from its point is left out."""
PINHOLE = 1
"""Number of COLMAP's camera model."""
Floats = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Image:
    """One keyframe of the model."""

    number: int
    keyframe: SavedKeyframe
    observations: list[tuple[float, float, int]] = field(default_factory=list)
    """Pixel (u, v; centres at 0.5) and number of the point."""

    @property
    def pose(self) -> tuple[Floats, Floats]:
        """Quaternion (w, x, y, z) and translation, camera_from_world."""
        pose = self.keyframe.camera_from_map
        quat = Rotation.from_matrix(pose[:, :3]).as_quat()[[3, 0, 1, 2]]
        return np.asarray(quat * (1 if quat[0] >= 0 else -1)), pose[:, 3]

    @property
    def camera(self) -> tuple[int, int, Floats]:
        """Width, height, and fx, fy, cx, cy with pixel centres at 0.5."""
        matrix, (height, width) = self.keyframe.camera_matrix, self.keyframe.size
        centre = matrix[:2, 2] + 0.5
        return width, height, np.array([matrix[0, 0], matrix[1, 1], *centre])


@dataclass(slots=True, eq=False)
class Point:
    """One tracked point."""

    position: Floats
    color: tuple[int, int, int] = (0, 0, 0)
    error_px: float = 0.0
    track: list[tuple[int, int]] = field(default_factory=list)
    """Number of the image, index of the observation in it."""


def write_colmap(run: RunFolder, out: Path) -> tuple[int, int, float]:
    """Write images/, sparse/0 (binary) and sparse_text/.

    Returns the numbers of images and points, and the median reprojection error (px). Raises
    CommandError if there are too few keyframes.
    """
    run.require_keyframes()
    images = [Image(i, keyframe) for i, keyframe in enumerate(run.keyframes(), 1)]
    points = _points(images)
    pictures = out / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    for image in images:
        shutil.copyfile(image.keyframe.picture, pictures / image.keyframe.picture.name)
    for folder, write in (("sparse/0", _write_binary), ("sparse_text", _write_text)):
        (out / folder).mkdir(parents=True, exist_ok=True)
        write(out / folder, images, points)
    errors = [point.error_px for point in points.values()]
    return len(images), len(points), float(np.median(errors)) if errors else float("nan")


def _points(images: list[Image]) -> dict[int, Point]:
    """Place the points that two keyframes or more have seen, and fill the observations."""
    seen: dict[int, list[tuple[Image, Floats, Floats]]] = {}
    for image in images:
        frame = image.keyframe
        for number, pixel, position in zip(frame.ids, frame.pixels, frame.points, strict=True):
            seen.setdefault(int(number), []).append((image, pixel, position))
    points: dict[int, Point] = {}
    for number, views in seen.items():
        position = _best_position(views)
        kept = [(image, pixel, _error(image, position, pixel)) for image, pixel, _ in views]
        kept = [view for view in kept if view[2] <= LARGEST_ERROR_PX]
        if len(kept) < 2:
            continue
        point = Point(position, error_px=float(np.mean([error for *_, error in kept])))
        for image, pixel, _ in kept:
            point.track.append((image.number, len(image.observations)))
            image.observations.append((float(pixel[0] + 0.5), float(pixel[1] + 0.5), number + 1))
        points[number + 1] = point
    _paint(images, points)
    return points


def _best_position(views: list[tuple[Image, Floats, Floats]]) -> Floats:
    """Return the position, as one of the keyframes knows it, that all of them see best."""
    candidates = [position for *_, position in views]
    costs = [
        float(np.median([_error(image, position, pixel) for image, pixel, _ in views]))
        for position in candidates
    ]
    return candidates[int(np.argmin(costs))]


def _error(image: Image, position: Floats, pixel: Floats) -> float:
    """Return the reprojection error, px; infinite behind the camera."""
    pose, matrix = image.keyframe.camera_from_map, image.keyframe.camera_matrix
    x, y, z = matrix @ (pose[:, :3] @ position + pose[:, 3])
    return float(np.hypot(x / z - pixel[0], y / z - pixel[1])) if z > 0 else float("inf")


def _paint(images: list[Image], points: dict[int, Point]) -> None:
    """Give each point the colour of its first observation."""
    for image in images:
        picture = cv2.imread(str(image.keyframe.picture), cv2.IMREAD_COLOR)
        if picture is None:
            raise CommandError(f"{image.keyframe.picture} cannot be read")
        for index, (u, v, number) in enumerate(image.observations):
            if points[number].track[0] == (image.number, index):
                row = min(max(int(v), 0), picture.shape[0] - 1)
                column = min(max(int(u), 0), picture.shape[1] - 1)
                blue, green, red = picture[row, column].tolist()
                points[number].color = red, green, blue


def _write_text(folder: Path, images: list[Image], points: dict[int, Point]) -> None:
    cameras = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    frames = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# X, Y, POINT3D_ID"]
    for image in images:
        width, height, params = image.camera
        cameras.append(f"{image.number} PINHOLE {width} {height} {_words(params)}")
        quat, translation = image.pose
        name = image.keyframe.picture.name
        frames.append(f"{image.number} {_words([*quat, *translation])} {image.number} {name}")
        frames.append(" ".join(f"{u:.6f} {v:.6f} {p}" for u, v, p in image.observations))
    cloud = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    for number, point in points.items():
        track = " ".join(f"{image} {index}" for image, index in point.track)
        color = " ".join(map(str, point.color))
        cloud.append(f"{number} {_words(point.position)} {color} {point.error_px:.6f} {track}")
    for name, lines in (("cameras", cameras), ("images", frames), ("points3D", cloud)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def _write_binary(folder: Path, images: list[Image], points: dict[int, Point]) -> None:
    cameras, frames = [struct.pack("<Q", len(images))], [struct.pack("<Q", len(images))]
    for image in images:
        width, height, params = image.camera
        cameras.append(struct.pack("<iiQQ4d", image.number, PINHOLE, width, height, *params))
        quat, translation = image.pose
        frames.append(struct.pack("<i7di", image.number, *quat, *translation, image.number))
        frames.append(image.keyframe.picture.name.encode() + b"\0")
        frames.append(struct.pack("<Q", len(image.observations)))
        frames += [struct.pack("<2dQ", *observation) for observation in image.observations]
    cloud = [struct.pack("<Q", len(points))]
    for number, point in points.items():
        cloud.append(struct.pack("<Q3d3Bd", number, *point.position, *point.color, point.error_px))
        cloud.append(struct.pack("<Q", len(point.track)))
        cloud += [struct.pack("<2i", *entry) for entry in point.track]
    for name, parts in (("cameras", cameras), ("images", frames), ("points3D", cloud)):
        (folder / f"{name}.bin").write_bytes(b"".join(parts))


def _words(values: Iterable[float]) -> str:
    return " ".join(f"{value:.12g}" for value in values)
