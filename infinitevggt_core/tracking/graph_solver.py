# SPDX-License-Identifier: Apache-2.0
"""Robust least squares over a graph of Sim(3) poses, on sparse matrices of SciPy.

A pure function: arrays in, arrays out, so that any thread may run it. The factorisation, which
takes most of the time, runs without Python's lock.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from infinitevggt_core.tracking.similarity import (
    Floats,
    Similarity3,
    inverse_right_jacobian,
)

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
MOST_STEPS = 25
SMALLEST_STEP = 1e-7
"""Largest part of a step (rad, units, log scale) below which the search ends."""
SMALLEST_GAIN = 1e-7
"""Relative fall of the cost below which the search ends, twice in a row."""
KERNEL_SHRINKS_BY = 3.0
"""Factor between the kernels of the second search, from lax to strict."""
DOUBTFUL = 0.5
"""Weight of a loop below which the second search is tried."""
FIRST_DAMPING = 1e-8
MOST_DAMPING = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class GraphProblem:
    """N poses and E measurements between them."""

    indices: Integers
    """(N,): the keyframes' numbers, for whoever takes the solution back."""
    poses: Similarity3
    """(N,): world_from_camera as first guess."""
    fixed: Mask
    """(N,): poses that stay."""
    first: Integers
    """(E,): rows of `poses`."""
    second: Integers
    """(E,)."""
    measured: Similarity3
    """(E,): camera of `first` <- camera of `second`."""
    covariances: Floats
    """(E, 7, 7), of x in `true = measured @ exp(x)`: rad, unit of `second`, log scale."""
    robust: Mask
    """(E,): measurements that may be wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphSolution:
    """Poses with the least cost that was found."""

    indices: Integers
    """(N,): as in the problem."""
    poses: Similarity3
    """(N,)."""
    squares: Floats
    """(E,): squared whitened residuals, some 7 for a measurement that fits."""
    cost: float
    steps: int


def solve(problem: GraphProblem, kernel: float = 1.0) -> GraphSolution:
    """Find poses with the least sum of squares; a Cauchy kernel weighs the robust measurements.

    kernel: its width in standard deviations. Where it leaves measurements out, a second search
    begins with all of them and narrows the kernel; the one with the lower cost is the answer.
    Raises LinAlgError for a covariance that is none.
    """
    system = _System(problem)
    best = _descend(system, problem.poses, [kernel])
    unused = problem.robust & (_weights(best.squares, kernel) < DOUBTFUL)
    if not unused.any():
        return best
    widest = float(np.sqrt(system.squares(problem.poses)[problem.robust].max()))
    if not np.isfinite(widest):
        return best
    levels = int(np.ceil(np.log(max(widest / kernel, 1.0)) / np.log(KERNEL_SHRINKS_BY)))
    kernels = [kernel * KERNEL_SHRINKS_BY**level for level in range(levels, -1, -1)]
    other = _descend(system, problem.poses, kernels)
    return other if other.cost < best.cost else best


class _System:
    """The normal equations of a problem: their pattern is found once."""

    def __init__(self, problem: GraphProblem) -> None:
        self.problem = problem
        self._inverse = problem.measured.inverse()
        self._whiten = np.linalg.inv(np.linalg.cholesky(problem.covariances))  # (E, 7, 7)
        self._free = np.flatnonzero(~problem.fixed)
        column = np.full(len(problem.fixed), -1)
        column[self._free] = np.arange(len(self._free))
        self._ends = np.stack((column[problem.first], column[problem.second]), axis=1)  # (E, 2)
        self._make_pattern()

    def squares(self, poses: Similarity3) -> Floats:
        """(E,): squared whitened residuals."""
        whitened = (self._whiten @ self._residuals(poses)[0][..., None])[..., 0]
        return np.asarray(np.square(whitened).sum(axis=1))

    def cost(self, squares: Floats, kernel: float) -> float:
        robust = self.problem.robust
        reduced = kernel**2 * np.log1p(squares[robust] / kernel**2)
        return float(squares[~robust].sum() + reduced.sum()) / 2

    def linearise(self, poses: Similarity3, kernel: float) -> tuple[sparse.csc_matrix, Floats]:
        """The matrix and the right side of the step (7 N,), weighted by the kernel."""
        residuals, between = self._residuals(poses)
        jacobian = inverse_right_jacobian(residuals)
        backward = -jacobian @ between.inverse().adjoint()
        both = self._whiten @ np.concatenate((backward, jacobian), axis=2)  # (E, 7, 14)
        residuals = (self._whiten @ residuals[..., None])[..., 0]
        weights = _weights(np.square(residuals).sum(axis=1), kernel)
        roots = np.sqrt(np.where(self.problem.robust, weights, 1.0))
        both, residuals = both * roots[:, None, None], residuals * roots[:, None]
        products = np.swapaxes(both, 1, 2) @ both  # (E, 14, 14)
        slopes = np.einsum("eki,ek->ei", both, residuals)  # (E, 14)
        values = np.add.reduceat(products.ravel()[self._order], self._starts)
        matrix = sparse.csc_matrix((values, self._rows, self._columns), shape=self._shape)
        slopes = slopes.ravel()[self._placed]
        right = np.bincount(self._places[self._placed], slopes, minlength=self._shape[0])
        return matrix, -right.astype(np.float64)

    def moved(self, poses: Similarity3, step: Floats) -> Similarity3:
        """The poses after a step (7 N,) of those that are free."""
        tangent = np.zeros((len(self.problem.fixed), 7))
        tangent[self._free] = step.reshape(-1, 7)
        return poses @ Similarity3.exp(tangent)

    def _residuals(self, poses: Similarity3) -> tuple[Floats, Similarity3]:
        """(E, 7), and the relative poses that they are of."""
        between = poses[self.problem.first].inverse() @ poses[self.problem.second]
        return (self._inverse @ between).log(), between

    def _make_pattern(self) -> None:
        """Return the places of the products of the Jacobians in a matrix of compressed columns."""
        ends = self._ends
        size = 7 * len(self._free)
        places = np.where(ends[..., None] >= 0, 7 * ends[..., None] + np.arange(7), -1)
        places = places.reshape(len(ends), 14)
        self._places = places.ravel()
        self._placed = np.flatnonzero(self._places >= 0)
        rows = np.broadcast_to(places[:, :, None], (len(ends), 14, 14)).ravel()
        columns = np.broadcast_to(places[:, None, :], (len(ends), 14, 14)).ravel()
        kept = np.flatnonzero((rows >= 0) & (columns >= 0))
        codes = columns[kept] * size + rows[kept]
        order = np.argsort(codes, kind="stable")
        self._order, codes = kept[order], codes[order]
        self._starts = np.flatnonzero(np.diff(codes, prepend=-1))
        codes = codes[self._starts]
        self._rows = (codes % max(size, 1)).astype(np.int32)
        counts = np.bincount(codes // max(size, 1), minlength=size)
        self._columns = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
        self._shape = (size, size)


def _descend(system: _System, poses: Similarity3, kernels: list[float]) -> GraphSolution:
    """Gauss-Newton, damped where it has to be: one step a kernel, and the last one to its end."""
    steps, quiet, damping = 0, 0, FIRST_DAMPING
    for kernel in kernels[:-1]:
        poses, _, damping, _ = _step(system, poses, kernel, damping)
        steps += 1
    kernel = kernels[-1]
    cost = system.cost(system.squares(poses), kernel)
    while steps < MOST_STEPS + len(kernels) and quiet < 2:
        poses, new_cost, damping, length = _step(system, poses, kernel, damping)
        quiet = quiet + 1 if cost - new_cost < SMALLEST_GAIN * new_cost else 0
        steps, cost = steps + 1, new_cost
        if length < SMALLEST_STEP:
            break
    squares = system.squares(poses)
    final = system.cost(squares, kernel)
    return GraphSolution(system.problem.indices, poses.normalised(), squares, final, steps)


def _step(
    system: _System, poses: Similarity3, kernel: float, damping: float
) -> tuple[Similarity3, float, float, float]:
    """Poses after a step that lowers the cost, the cost, the next damping and the step's length.

    Without such a step the poses stay and the length is 0.
    """
    cost = system.cost(system.squares(poses), kernel)
    matrix, right = system.linearise(poses, kernel)
    if not len(right):
        return poses, cost, damping, 0.0
    diagonal = matrix.diagonal() + 1e-9
    while damping < MOST_DAMPING:
        damped = (matrix + sparse.diags(damping * diagonal)).tocsc()
        step = _solved(damped, right)
        if not np.isfinite(step).all():
            damping *= 100
            continue
        moved = system.moved(poses, step)
        new_cost = system.cost(system.squares(moved), kernel)
        if new_cost <= cost * (1 + 1e-12) + 1e-30:
            return moved, new_cost, max(damping / 10, FIRST_DAMPING), float(np.abs(step).max())
        damping *= 100
    return poses, cost, FIRST_DAMPING, 0.0


def _solved(matrix: sparse.csc_matrix, right: Floats) -> Floats:
    """Solve a symmetric system; no numbers where it is singular."""
    try:
        factors = splu(
            matrix,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:
        return np.full(len(right), np.nan)
    return np.asarray(factors.solve(right))


def _weights(squares: Floats, kernel: float) -> Floats:
    """(E,): the Cauchy kernel's weights."""
    return np.asarray(1 / (1 + squares / kernel**2))
