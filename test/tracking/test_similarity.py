# SPDX-License-Identifier: Apache-2.0
"""Similarity transforms obey the axioms of their group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import expm

from infinitevggt_core.tracking.similarity import (
    Similarity3,
    inverse_right_jacobian,
    rotation_exp,
    rotation_log,
    small_adjoint,
)

Floats = NDArray[np.float64]
TOLERANCE = 1e-9


def vectors(size: int, limit: float) -> st.SearchStrategy[Floats]:
    return st.lists(st.floats(-limit, limit), min_size=size, max_size=size).map(np.array)


tangents = st.tuples(vectors(3, 1.7), vectors(3, 5), vectors(1, 1.5)).map(np.concatenate)
tiny_tangents = st.tuples(vectors(3, 2e-3), vectors(3, 1), vectors(1, 1e-3)).map(np.concatenate)
transforms = tangents.map(Similarity3.exp)


def assert_same(one: Similarity3, other: Similarity3) -> None:
    np.testing.assert_allclose(one.scale, other.scale, rtol=TOLERANCE)
    np.testing.assert_allclose(one.rotation, other.rotation, atol=TOLERANCE)
    np.testing.assert_allclose(one.translation, other.translation, atol=1e-8)


def matrix(transform: Similarity3) -> Floats:
    whole = np.eye(4)
    whole[:3, :3] = transform.scale * transform.rotation
    whole[:3, 3] = transform.translation
    return whole


@given(transforms, transforms, transforms)
def test_composition_is_associative(a: Similarity3, b: Similarity3, c: Similarity3) -> None:
    assert_same((a @ b) @ c, a @ (b @ c))


@given(transforms)
def test_the_inverse_undoes(a: Similarity3) -> None:
    assert_same(a @ a.inverse(), Similarity3.identity())
    assert_same(a.inverse() @ a, Similarity3.identity())


@given(transforms, transforms, vectors(3, 10))
def test_composition_acts_one_after_the_other(a: Similarity3, b: Similarity3, p: Floats) -> None:
    np.testing.assert_allclose((a @ b)(p[None]), a(b(p[None])), atol=1e-7)
    np.testing.assert_allclose(
        (matrix(a) @ matrix(b) @ np.append(p, 1))[:3], (a @ b)(p[None])[0], atol=1e-7
    )


@given(st.one_of(tangents, tiny_tangents))
def test_log_is_the_inverse_of_exp(x: Floats) -> None:
    np.testing.assert_allclose(Similarity3.exp(x).log(), x, atol=1e-7)


@given(st.one_of(tangents, tiny_tangents))
def test_exp_is_that_of_matrices(x: Floats) -> None:
    generator = np.zeros((4, 4))
    generator[:3, :3] = small_adjoint(x)[:3, :3] + x[6] * np.eye(3)
    generator[:3, 3] = x[3:6]
    np.testing.assert_allclose(matrix(Similarity3.exp(x)), expm(generator), atol=1e-8)


@given(transforms, tangents)
def test_the_adjoint_moves_a_tangent_through(a: Similarity3, x: Floats) -> None:
    x = 0.1 * x
    moved = a @ Similarity3.exp(x) @ a.inverse()
    assert_same(moved, Similarity3.exp(a.adjoint() @ x))


@given(tangents, vectors(7, 1))
def test_the_right_jacobian_is_the_numeric_one(x: Floats, step: Floats) -> None:
    x = 0.5 * x
    ahead = (Similarity3.exp(x) @ Similarity3.exp(1e-6 * step)).log()
    back = (Similarity3.exp(x) @ Similarity3.exp(-1e-6 * step)).log()
    np.testing.assert_allclose(inverse_right_jacobian(x) @ step, (ahead - back) / 2e-6, atol=1e-4)


@given(st.lists(tangents, min_size=1, max_size=5))
@settings(max_examples=20)
def test_many_at_once_are_each_alone(rows: list[Floats]) -> None:
    many = Similarity3.exp(np.array(rows))
    for k, row in enumerate(rows):
        assert_same(many[k], Similarity3.exp(row))
        assert_same((many @ many.inverse())[k], Similarity3.identity())
    assert_same(Similarity3.stack([many[k] for k in range(len(many))]), many)


@pytest.mark.parametrize("axis", np.eye(3))
def test_a_half_turn_has_a_logarithm(axis: Floats) -> None:
    turn = np.pi * axis
    assert abs(np.linalg.norm(rotation_log(rotation_exp(turn))) - np.pi) < 1e-9


@given(tangents)
def test_a_state_comes_back(x: Floats) -> None:
    transform = Similarity3.exp(x)
    assert_same(Similarity3.from_state(transform.state_dict()), transform)


def test_rotations_are_made_orthonormal_again() -> None:
    crooked = Similarity3(np.ones(4), rotation_exp(np.ones((4, 3))) + 1e-3, np.zeros((4, 3)))
    straight = crooked.normalised().rotation
    np.testing.assert_allclose(
        straight @ np.swapaxes(straight, 1, 2), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-12
    )
    assert (np.linalg.det(straight) > 0).all()
