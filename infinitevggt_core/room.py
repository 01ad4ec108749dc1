"""A furnished room to film: the smallest synthetic world, for demos and tests without a camera."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# corners (low, high) in metres, z up: the room itself, seen from inside, then what stands in it
ROOM = ((-3.0, -2.5, 0.0), (3.0, 2.5, 2.6))
FURNITURE = (
    ((-0.9, -0.5, 0.0), (0.7, 0.5, 0.75)),
    ((-2.9, 1.7, 0.0), (-1.2, 2.4, 1.9)),
    ((1.6, -2.4, 0.0), (2.9, -1.3, 0.5)),
    ((2.3, 0.8, 0.0), (2.9, 2.0, 1.1)),
)


@dataclass(frozen=True, slots=True)
class RoomFrame:
    """One exact view of the room."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    depth: Array
    """(H, W), metres along the optical axis."""
    camera_from_world: Array
    """(3, 4), OpenCV camera axes; the world is z up, in metres."""


def intrinsics(height: int, width: int, fov_deg: float) -> Array:
    """K (3, 3) in pixels of a camera with this horizontal field of view."""
    focal = width / 2 / np.tan(np.radians(fov_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def walk(
    frames: int, height: int, width: int, fov_deg: float = 70.0, laps: float = 0.4
) -> Iterator[RoomFrame]:
    """Film the room from a hand that walks round its table."""
    matrix = intrinsics(height, width, fov_deg)
    for i in range(frames):
        angle = 2 * np.pi * laps * i / max(1, frames - 1) - 0.6
        bob = 0.05 * np.sin(9 * angle)
        eye = np.array([2.1 * np.cos(angle), 1.7 * np.sin(angle), 1.5 + bob])
        target = np.array([0.5 * np.cos(angle + 2.5), 0.5 * np.sin(angle + 2.5), 0.9])
        yield render(look_at(eye, target), matrix, height, width)


def look_at(eye: Array, target: Array) -> Array:
    """camera_from_world (3, 4) of a level camera at `eye` that looks at `target`."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    rotation = np.stack((right, np.cross(forward, right), forward))
    return np.concatenate((rotation, (-rotation @ eye)[:, None]), axis=1)


def render(camera_from_world: Array, matrix: Array, height: int, width: int) -> RoomFrame:
    """Cast one ray through each pixel centre."""
    rotation = camera_from_world[:, :3]
    eye = -rotation.T @ camera_from_world[:, 3]
    v, u = np.mgrid[0:height, 0:width].astype(float)
    rays = np.stack((u, v, np.ones_like(u)), axis=-1) @ np.linalg.inv(matrix).T  # depth 1 each
    directions = rays @ rotation
    # a direction that is exactly parallel to a wall would divide by zero
    directions = np.where(np.abs(directions) < 1e-12, 1e-12, directions)
    depth, normal_axis = _leave(eye, directions, ROOM)
    solid = np.zeros(depth.shape, dtype=int)
    for index, box in enumerate(FURNITURE, start=1):
        entry, axis = _enter(eye, directions, box)
        nearer = entry < depth
        depth = np.where(nearer, entry, depth)
        normal_axis = np.where(nearer, axis, normal_axis)
        solid = np.where(nearer, index, solid)
    points = eye + depth[..., None] * directions
    return RoomFrame(_paint(points, normal_axis, solid), depth, camera_from_world)


def _slabs(
    eye: Array, directions: Array, box: tuple[tuple[float, ...], ...]
) -> tuple[Array, Array]:
    """Distances at which rays pass each pair of a box's planes, nearer and farther, (..., 3)."""
    low, high = ((np.asarray(corner) - eye) / directions for corner in box)
    return np.minimum(low, high), np.maximum(low, high)


def _leave(
    eye: Array, directions: Array, box: tuple[tuple[float, ...], ...]
) -> tuple[Array, NDArray[np.int64]]:
    _, far = _slabs(eye, directions, box)
    return far.min(-1), far.argmin(-1)


def _enter(
    eye: Array, directions: Array, box: tuple[tuple[float, ...], ...]
) -> tuple[Array, NDArray[np.int64]]:
    near, far = _slabs(eye, directions, box)
    entry = near.max(-1)
    hit = (entry > 0) & (entry < far.min(-1))
    return np.where(hit, entry, np.inf), near.argmax(-1)


def _paint(
    points: Array, normal_axis: NDArray[np.int64], solid: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """(H, W, 3): tiles and grain in a colour per surface, shaded by its direction."""
    x, y, z = np.moveaxis(points, -1, 0)
    surface = solid * 3 + normal_axis + 20 * (normal_axis == 2) * (z > 1.3)
    across = np.where(normal_axis == 0, y, x)
    along = np.where(normal_axis == 2, y, z)
    tile = (np.floor(across / 0.35) + np.floor(along / 0.35)) % 2
    grain = np.sin(31 * across + 17 * np.sin(5 * along)) * np.sin(
        23 * along + 11 * np.sin(7 * across)
    )
    light = np.choose(normal_axis, (0.75, 0.9, 1.0)) * (0.8 + 0.2 * tile + 0.12 * grain)
    hue = np.stack([np.sin(2.4 * surface + phase) for phase in (0.4, 2.5, 4.6)], axis=-1)
    color = (0.55 + 0.17 * hue) * light[..., None]
    return np.asarray(np.clip(color, 0, 1) * 255 + 0.5, dtype=np.uint8)
