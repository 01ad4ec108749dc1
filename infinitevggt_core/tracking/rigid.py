# SPDX-License-Identifier: Apache-2.0
"""Rotations and rigid motions as numpy arrays: (..., 3, 3) and (..., 3, 4)."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
IDENTITY: Floats = np.eye(3, 4)
SMALL_ANGLE = 1e-8


def hat(vector: Floats) -> Floats:
    """Return the matrices (..., 3, 3) that take b to vector x b, for vectors (..., 3)."""
    matrix = np.zeros((*vector.shape[:-1], 3, 3))
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    matrix[..., 0, 1], matrix[..., 0, 2], matrix[..., 1, 2] = -z, y, -x
    matrix[..., 1, 0], matrix[..., 2, 0], matrix[..., 2, 1] = z, -y, x
    return matrix


def rotation_exp(vector: Floats) -> Floats:
    """Return the rotations (..., 3, 3) about axes times angles (..., 3), rad."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    cross = hat(vector)
    small = angle < SMALL_ANGLE
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 1.0, np.sin(safe) / safe)
    second = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    return np.eye(3) + first * cross + second * (cross @ cross)


def rotation_angle(rotation: Floats) -> Floats:
    """Return the angles (...) of rotations (..., 3, 3), rad; exact for small ones too."""
    skew = rotation - np.swapaxes(rotation, -1, -2)
    sine = 0.5 * np.sqrt(skew[..., 2, 1] ** 2 + skew[..., 0, 2] ** 2 + skew[..., 1, 0] ** 2)
    cosine = 0.5 * (np.trace(rotation, axis1=-2, axis2=-1) - 1)
    return cast(Floats, np.arctan2(sine, cosine))


def orthonormal(rotation: Floats) -> Floats:
    """Return the rotation nearest to each matrix (..., 3, 3)."""
    left, _, right = np.linalg.svd(rotation)
    sign = np.sign(np.linalg.det(left @ right))
    left = left.copy()
    left[..., :, 2] *= sign[..., None]
    return cast(Floats, left @ right)


def compose(second: Floats, first: Floats) -> Floats:
    """Return the motions (..., 3, 4) that apply `first`, then `second`; rotations stay exact."""
    rotation = orthonormal(second[..., :3] @ first[..., :3])
    shift = second[..., :3] @ first[..., 3:] + second[..., 3:]
    return np.concatenate((rotation, shift), axis=-1)


def inverse(motion: Floats) -> Floats:
    """Return the motions (..., 3, 4) back."""
    rotation = np.swapaxes(motion[..., :3], -1, -2)
    return np.concatenate((rotation, -rotation @ motion[..., 3:]), axis=-1)


def transform(motion: Floats, points: Floats) -> Floats:
    """Move points (N, 3) by one motion (3, 4)."""
    return points @ motion[:, :3].T + motion[:, 3]


def centers(camera_from_world: Floats) -> Floats:
    """Return the positions (..., 3) of cameras in the world."""
    return inverse(camera_from_world)[..., 3]


def moved(pose: Floats, step: Floats) -> Floats:
    """Apply steps (..., 6), translation first, then rotation, on the left of poses (..., 3, 4)."""
    turn = rotation_exp(step[..., 3:])
    motion = np.concatenate((turn, step[..., :3, None]), axis=-1)
    return compose(motion, pose)
