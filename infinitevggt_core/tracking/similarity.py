# SPDX-License-Identifier: Apache-2.0
"""Sim(3) algebra for graphs of keyframes, for one transform or many at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SMALL = 1e-4
"""Angles (rad) below which series replace closed forms."""
NODES, WEIGHTS = (values / 2 for values in np.polynomial.legendre.leggauss(12))
NODES = NODES + 0.5  # Gauss's rule on [0, 1]


@dataclass(frozen=True, slots=True, eq=False)
class Similarity3:
    """Transforms p -> scale * rotation @ p + translation, with any leading dimensions.

    Tangent vectors (..., 7) hold rotation (rad), translation (unit of the target) and log scale.
    The alignment of two trajectories is `evaluation.similarity.Similarity`.
    """

    scale: Floats
    """(...,)."""
    rotation: Floats
    """(..., 3, 3)."""
    translation: Floats
    """(..., 3)."""

    @classmethod
    def identity(cls, *shape: int) -> "Similarity3":
        """Transforms that change nothing, leading dimensions `shape`."""
        rotation = np.broadcast_to(np.eye(3), (*shape, 3, 3)).copy()
        return cls(np.ones(shape), rotation, np.zeros((*shape, 3)))

    @classmethod
    def from_rigid(cls, transform: Floats, scale: float = 1.0) -> "Similarity3":
        """Rigid transforms (..., 3, 4), with one scale for all of them."""
        scales = np.full(transform.shape[:-2], float(scale))
        return cls(scales, transform[..., :3].copy(), transform[..., 3].copy())

    @classmethod
    def stack(cls, transforms: "list[Similarity3]") -> "Similarity3":
        """Single transforms -> one with a leading dimension."""
        return cls(
            np.array([one.scale for one in transforms], dtype=np.float64).reshape(-1),
            np.array([one.rotation for one in transforms]).reshape(-1, 3, 3),
            np.array([one.translation for one in transforms]).reshape(-1, 3),
        )

    @classmethod
    def exp(cls, tangent: Floats) -> "Similarity3":
        """Tangent vectors (..., 7) -> transforms."""
        turn, shift, log_scale = tangent[..., :3], tangent[..., 3:6], tangent[..., 6]
        translation = (_coupling(turn, log_scale) @ shift[..., None])[..., 0]
        return cls(np.exp(log_scale), rotation_exp(turn), translation)

    def log(self) -> Floats:
        """(..., 7): tangent vectors, the inverse of `exp` for turns below pi."""
        turn, log_scale = rotation_log(self.rotation), np.log(self.scale)
        shift = np.linalg.solve(_coupling(turn, log_scale), self.translation[..., None])[..., 0]
        return np.concatenate((turn, shift, np.asarray(log_scale)[..., None]), axis=-1)

    def __call__(self, points: Floats) -> Floats:
        """(..., N, 3) -> (..., N, 3)."""
        turned: Floats = np.asarray(self.scale)[..., None, None] * (points @ _t(self.rotation))
        return turned + self.translation[..., None, :]

    def __matmul__(self, other: "Similarity3") -> "Similarity3":
        """`(a @ b)(p)` is `a(b(p))`."""
        moved = (self.rotation @ other.translation[..., None])[..., 0]
        return Similarity3(
            np.asarray(self.scale * other.scale),
            self.rotation @ other.rotation,
            np.asarray(self.scale)[..., None] * moved + self.translation,
        )

    def __getitem__(self, key: Any) -> "Similarity3":
        """Choose among leading dimensions."""
        return Similarity3(np.asarray(self.scale[key]), self.rotation[key], self.translation[key])

    def __len__(self) -> int:
        return len(self.scale)

    def inverse(self) -> "Similarity3":
        """The transforms back."""
        back = _t(self.rotation)
        scale = 1 / self.scale
        moved = (back @ self.translation[..., None])[..., 0]
        return Similarity3(np.asarray(scale), back, -np.asarray(scale)[..., None] * moved)

    def adjoint(self) -> Floats:
        """(..., 7, 7): A with S exp(x) S^-1 = exp(A x)."""
        adjoint = np.zeros((*self.translation.shape[:-1], 7, 7))
        adjoint[..., :3, :3] = self.rotation
        adjoint[..., 3:6, :3] = hat(self.translation) @ self.rotation
        adjoint[..., 3:6, 3:6] = np.asarray(self.scale)[..., None, None] * self.rotation
        adjoint[..., 3:6, 6] = -self.translation
        adjoint[..., 6, 6] = 1
        return adjoint

    def normalised(self) -> "Similarity3":
        """The same with the nearest orthonormal rotations."""
        u, _, vt = np.linalg.svd(self.rotation)
        sign = np.sign(np.linalg.det(u @ vt))
        u = u * np.stack((np.ones_like(sign), np.ones_like(sign), sign), axis=-1)[..., None, :]
        return Similarity3(self.scale, u @ vt, self.translation)

    def rigid(self) -> Floats:
        """(..., 3, 4): the pose alone, rotation and translation, without the scale."""
        return np.concatenate((self.rotation, self.translation[..., None]), axis=-1)

    def state_dict(self) -> dict[str, Floats]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Similarity3":
        """Raises KeyError for a missing part."""
        return cls(*(np.asarray(state[name], dtype=np.float64) for name in cls.__slots__))


def hat(vector: Floats) -> Floats:
    """(..., 3) -> (..., 3, 3): the matrix of the cross product."""
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rotation_exp(turn: Floats) -> Floats:
    """Rotation vectors (..., 3), rad -> (..., 3, 3)."""
    angle = np.linalg.norm(turn, axis=-1)[..., None, None]
    cross = hat(turn)
    with np.errstate(invalid="ignore", divide="ignore"):
        first = np.where(angle < SMALL, 1 - angle**2 / 6, np.sin(angle) / angle)
        second = np.where(angle < SMALL, 0.5 - angle**2 / 24, (1 - np.cos(angle)) / angle**2)
    return np.asarray(np.eye(3) + first * cross + second * cross @ cross)


def rotation_log(rotation: Floats) -> Floats:
    """(..., 3, 3) -> rotation vectors (..., 3), rad, no longer than pi."""
    quaternion = _quaternion(rotation)
    axis, real = quaternion[..., :3], quaternion[..., 3]
    sine = np.linalg.norm(axis, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(sine < 1e-9, 2.0, 2 * np.arctan2(sine, real) / sine)
    return np.asarray(factor[..., None] * axis)


def inverse_right_jacobian(tangent: Floats) -> Floats:
    """(..., 7) -> (..., 7, 7): J with log(exp(x) exp(d)) = x + J d for small d.

    The series of Bernoulli numbers, to 1e-6 for turns below 2 rad and shifts of their size.
    """
    small = small_adjoint(tangent)
    square = small @ small
    total = np.eye(7) + small / 2 + square / 12
    power = square
    for coefficient in (-1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160):
        power = power @ square
        total = total + coefficient * power
    return np.asarray(total)


def small_adjoint(tangent: Floats) -> Floats:
    """(..., 7) -> (..., 7, 7): the matrix of the bracket of the algebra."""
    turn, shift, log_scale = tangent[..., :3], tangent[..., 3:6], tangent[..., 6]
    matrix = np.zeros((*tangent.shape[:-1], 7, 7))
    matrix[..., :3, :3] = hat(turn)
    matrix[..., 3:6, :3] = hat(shift)
    matrix[..., 3:6, 3:6] = hat(turn) + log_scale[..., None, None] * np.eye(3)
    matrix[..., 3:6, 6] = -shift
    return matrix


def _t(matrix: Floats) -> Floats:
    return np.swapaxes(matrix, -1, -2)


def _quaternion(rotation: Floats) -> Floats:
    """(..., 3, 3) -> unit quaternions (..., 4), scalar last and not negative."""
    m = rotation
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # four times the products of the quaternion's parts: rows x, y, z, w
    outer = np.empty((*m.shape[:-2], 4, 4))
    for i in range(3):
        outer[..., i, i] = 1 + 2 * m[..., i, i] - trace
        for j in range(i + 1, 3):
            outer[..., i, j] = outer[..., j, i] = m[..., i, j] + m[..., j, i]
    for i, (j, k) in enumerate(((2, 1), (0, 2), (1, 0))):
        outer[..., i, 3] = outer[..., 3, i] = m[..., j, k] - m[..., k, j]
    outer[..., 3, 3] = 1 + trace
    largest = np.diagonal(outer, axis1=-2, axis2=-1).argmax(-1)
    row = np.take_along_axis(outer, largest[..., None, None], axis=-2)[..., 0, :]
    row = row / np.linalg.norm(row, axis=-1, keepdims=True)
    return np.asarray(np.where(row[..., 3:] < 0, -row, row))


def _coupling(turn: Floats, log_scale: Floats) -> Floats:
    """(..., 3), (...,) -> (..., 3, 3): V with translation = V @ shift in the exponential map.

    The integral over u in [0, 1] of exp(u (log_scale I + hat(turn))).
    """
    angle, s = np.linalg.norm(turn, axis=-1), np.asarray(log_scale, dtype=np.float64)
    growth = np.exp(s)
    with np.errstate(invalid="ignore", divide="ignore"):
        # integrals of e^(s u), e^(s u) sin(angle u) / angle, e^(s u) (1 - cos(angle u)) / angle^2
        whole = np.where(np.abs(s) < 1e-12, 1.0, np.expm1(s) / s)
        norm = s**2 + angle**2
        sine = (growth * (s * np.sin(angle) - angle * np.cos(angle)) + angle) / norm / angle
        cosine = (growth * (s * np.cos(angle) + angle * np.sin(angle)) - s) / norm
        rest = (whole - cosine) / angle**2
    small = angle < 1e-3
    first, second = sine, rest
    if small.any():
        first = np.where(small, _moment(s, 1) - _moment(s, 3) * angle**2 / 6, sine)
        second = np.where(small, _moment(s, 2) / 2 - _moment(s, 4) * angle**2 / 24, rest)
    cross = hat(turn)
    return np.asarray(
        whole[..., None, None] * np.eye(3)
        + first[..., None, None] * cross
        + second[..., None, None] * cross @ cross
    )


def _moment(s: Floats, power: int) -> Floats:
    """(...,): the integral over u in [0, 1] of u^power e^(s u)."""
    values = NODES**power * np.exp(s[..., None] * NODES)
    return np.asarray(values @ WEIGHTS)
