# SPDX-License-Identifier: Apache-2.0
"""Loops close graphs exactly, wrong ones are left out, and a graph stays bounded."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from infinitevggt_core.tracking.graph_solver import solve
from infinitevggt_core.tracking.loop_edge import LoopEdge
from infinitevggt_core.tracking.pose_graph import LOOPS_OF_A_PLACE, PoseGraph
from infinitevggt_core.tracking.similarity import Similarity3, rotation_exp

Floats = NDArray[np.float64]
SIDE = 10
"""Keyframes along a side of the square."""
DRIFT = 1.01
"""Unit of a keyframe's camera in units of the next one's."""
EXACT = (1e-6, 1e-6, 1e-6)


def square(sides: int = 4) -> list[Similarity3]:
    """world_from_camera along a square, each camera in a unit of its own that drifts."""
    poses = []
    for k in range(sides * SIDE + 1):
        corner, rest = divmod(k, SIDE)
        start = np.array([[0, 0, 0], [SIDE, 0, 0], [SIDE, SIDE, 0], [0, SIDE, 0]])[corner % 4]
        turn = rotation_exp(np.array([0, 0, np.pi / 2 * corner]))
        poses.append(Similarity3(np.array(DRIFT**-k), turn, start + turn @ [rest, 0.0, 0.0]))
    return poses


def relative(poses: list[Similarity3], first: int, second: int) -> Similarity3:
    return poses[first].inverse() @ poses[second]


def as_tracked(step: Similarity3) -> Similarity3:
    """Return the measurement of odometry, in the first camera's unit, without a change of unit."""
    return Similarity3(np.array(1.0), step.rotation, step.translation)


def graph_of(poses: list[Similarity3], capacity: int = 4000) -> PoseGraph:
    """Odometry alone: the unit of each camera is taken for that of the one before."""
    graph = PoseGraph(capacity)
    graph.add(0, 0, poses[0])
    for k in range(1, len(poses)):
        step = as_tracked(relative(poses, k - 1, k))
        graph.add(k, 0, graph.pose(k - 1) @ step)
        graph.add_step(k - 1, k, step)
    return graph


def loop_of(
    poses: list[Similarity3], first: int, second: int, sigmas: tuple[float, float, float] = EXACT
) -> LoopEdge:
    return LoopEdge(first, second, relative(poses, first, second), covariance(*sigmas), 50)


def covariance(turn: float, shift: float, log_scale: float) -> Floats:
    return np.diag(np.square([turn, turn, turn, shift, shift, shift, log_scale]))


def worst(graph: PoseGraph, poses: list[Similarity3]) -> float:
    errors = [(poses[k].inverse() @ graph.pose(k)).log() for k in graph]
    return float(np.abs(errors).max())


def test_a_square_with_a_drifting_scale_is_closed_by_one_exact_loop() -> None:
    poses = square()
    graph = graph_of(poses)
    assert worst(graph, poses) > 0.3
    graph.add_loop(loop_of(poses, 0, 4 * SIDE))
    graph.optimise()
    assert worst(graph, poses) < 1e-6
    assert [loop.accepted for loop in graph.loops] == [True]


def invented(poses: list[Similarity3], count: int, seed: int) -> list[LoopEdge]:
    dice = np.random.default_rng(seed)
    loops = []
    for _ in range(count):
        first, second = sorted(dice.choice(len(poses), 2, replace=False))
        tangent = dice.normal(size=7) * [1, 1, 1, 5, 5, 5, 0.3]
        wrong = Similarity3.exp(tangent)
        loops.append(LoopEdge(int(first), int(second), wrong, covariance(0.02, 0.05, 0.02), 30))
    return loops


@pytest.mark.parametrize("seed", range(8))
def test_half_of_the_loops_may_be_invented(seed: int) -> None:
    poses = square(8)
    graph, clean = graph_of(poses), graph_of(poses)
    sigmas = (0.02, 0.05, 0.02)
    true = [loop_of(poses, k, k + 4 * SIDE, sigmas) for k in range(0, 4 * SIDE, 4)]
    false = invented(poses, len(true), seed)
    for loop in true:
        graph.add_loop(loop)
        clean.add_loop(loop)
    for loop in false:
        graph.add_loop(loop)
    clean.optimise()
    graph.optimise()
    wrong = {loop.key for loop in false}
    assert {loop.key for loop in graph.loops if loop.accepted} == {loop.key for loop in true}
    assert wrong & {loop.key for loop in graph.loops} == wrong
    centers = np.array([graph.pose(k).translation for k in graph])
    wanted = np.array([clean.pose(k).translation for k in clean])
    assert np.abs(centers - wanted).max() < 0.05


def test_the_solver_agrees_with_gtsam() -> None:
    gtsam = pytest.importorskip("gtsam")
    dice = np.random.default_rng(5)
    poses = square()
    graph = graph_of(poses)
    loops = [loop_of(poses, k, k + 3 * SIDE, (0.02, 0.1, 0.03)) for k in (0, 3, 7)]
    loops += [loop_of(poses, 1, 4 * SIDE, (0.02, 0.1, 0.03))]
    noisy = [
        LoopEdge(
            a, b, loop.relative @ Similarity3.exp(0.01 * dice.normal(size=7)), loop.covariance, 9
        )
        for loop in loops
        for a, b in [loop.key]
    ]
    for loop in noisy:
        graph.add_loop(loop)
    problem = graph.problem()
    solution = solve(problem)

    def theirs(one: Similarity3) -> object:
        shift = gtsam.Point3(*(one.translation / one.scale))
        return gtsam.Similarity3(gtsam.Rot3(one.rotation), shift, float(one.scale))

    values, factors = gtsam.Values(), gtsam.NonlinearFactorGraph()
    for k in range(len(poses)):
        values.insert(k, theirs(problem.poses[k]))
    tight = gtsam.noiseModel.Isotropic.Sigma(7, 1e-6)
    factors.add(gtsam.PriorFactorSimilarity3(0, theirs(problem.poses[0]), tight))
    for k, (a, b) in enumerate(zip(problem.first, problem.second, strict=True)):
        noise = gtsam.noiseModel.Gaussian.Covariance(problem.covariances[k])
        if problem.robust[k]:
            cauchy = gtsam.noiseModel.mEstimator.Cauchy.Create(1.0)
            noise = gtsam.noiseModel.Robust.Create(cauchy, noise)
        factors.add(
            gtsam.BetweenFactorSimilarity3(int(a), int(b), theirs(problem.measured[k]), noise)
        )
    result = gtsam.LevenbergMarquardtOptimizer(factors, values).optimize()
    for k in range(len(poses)):
        pose = result.atSimilarity3(k)
        center = pose.scale() * pose.translation()
        np.testing.assert_allclose(center, solution.poses.translation[k], atol=1e-3)


def test_a_removed_keyframe_leaves_the_others_where_they_were() -> None:
    poses = square()
    graph = graph_of(poses)
    graph.add_loop(loop_of(poses, 0, 4 * SIDE))
    graph.optimise()
    for k in range(1, 4 * SIDE, 2):
        graph.remove(k)
    assert len(graph) == 2 * SIDE + 1
    assert graph.step_count == 2 * SIDE
    graph.optimise()
    assert worst(graph, poses) < 2e-3  # composed to first order


def test_the_loop_of_a_removed_keyframe_goes_over_to_its_neighbour() -> None:
    poses = square()
    graph = graph_of(poses)
    for k in range(1, len(poses)):  # exact odometry here
        graph.add_step(k - 1, k, relative(poses, k - 1, k))
    graph.add_loop(loop_of(poses, 2, 4 * SIDE - 2, (0.02, 0.05, 0.02)))
    graph.remove(2)
    graph.remove(4 * SIDE - 2)
    (loop,) = graph.loops
    assert loop.from_index in (1, 3)
    assert loop.to_index in (4 * SIDE - 3, 4 * SIDE - 1)
    error = (relative(poses, *loop.key).inverse() @ loop.relative).log()
    np.testing.assert_allclose(error, 0, atol=1e-9)
    assert loop.covariance[0, 0] > 0.02**2


def test_the_oldest_keyframe_may_go() -> None:
    graph = graph_of(square())
    before = graph.pose(1)
    graph.remove(0)
    graph.optimise()
    np.testing.assert_allclose(graph.pose(1).translation, before.translation)
    for k in list(graph):
        graph.remove(k)
    assert (len(graph), graph.step_count, graph.loops) == (0, 0, [])
    graph.optimise()
    assert graph.joined_submaps() == set()


def test_a_keyframe_has_at_most_four_loops_and_keeps_the_best() -> None:
    poses = square(8)
    graph = graph_of(poses)
    for k, inliers in enumerate((30, 90, 40, 20, 70, 25, 60)):
        loop = loop_of(poses, 3, 50 + k)
        graph.add_loop(LoopEdge(3, 50 + k, loop.relative, loop.covariance, inliers))
    assert sorted(loop.inliers for loop in graph.loops) == [40, 60, 70, 90]
    assert len(graph.loops) == LOOPS_OF_A_PLACE


def test_a_keyframe_that_nothing_holds_is_no_harm() -> None:
    graph = PoseGraph()
    for k in range(3):
        graph.add(k, k, Similarity3.identity())
    graph.optimise()
    graph.add_loop(LoopEdge(0, 1, Similarity3.identity(), np.full((7, 7), np.nan), 50))
    with pytest.raises((np.linalg.LinAlgError, AssertionError)):
        assert np.isfinite(graph.optimise().cost)


def test_a_full_graph_refuses() -> None:
    graph = graph_of(square(1), capacity=SIDE + 1)
    with pytest.raises(RuntimeError, match="full"):
        graph.add(99, 0, Similarity3.identity())
    graph.remove(4)
    graph.add(99, 0, Similarity3.identity())
    with pytest.raises(KeyError):
        graph.add_loop(LoopEdge(4, 99, Similarity3.identity(), np.eye(7), 50))


def test_keyframes_added_while_it_was_solved_move_with_their_neighbours() -> None:
    poses = square()
    graph = graph_of(poses[:-3])
    last = len(poses) - 4
    graph.add_loop(loop_of(poses, 0, last))
    problem = graph.problem()
    for k in range(last + 1, len(poses)):
        graph.add(k, 0, graph.pose(k - 1) @ relative(poses, k - 1, k))
        graph.add_step(k - 1, k, relative(poses, k - 1, k))
    graph.remove(5)
    graph.apply(solve(problem))
    assert worst(graph, poses) < 1e-5


def test_submaps_are_apart_until_a_loop_joins_them() -> None:
    poses = square()
    graph = PoseGraph()
    nowhere = Similarity3.exp(np.array([0.3, 0, 0, 3.0, 0, 0, 0.2]))
    for k, pose in enumerate(poses):
        submap = int(k >= 20)
        graph.add(k, submap, pose if submap == 0 else nowhere @ pose)
        if k == 20:
            graph.add_link(19, 20, relative(poses, 19, 19))
        elif k:
            graph.add_step(k - 1, k, relative(poses, k - 1, k))
    graph.optimise()
    assert graph.joined_submaps() == {0}
    graph.add_loop(loop_of(poses, 0, 4 * SIDE, (0.02, 0.05, 0.02)))
    graph.optimise()
    assert graph.joined_submaps() == {0, 1}
    assert worst(graph, poses) < 1e-2


def test_a_change_of_unit_changes_nothing_in_the_map() -> None:
    poses = square()
    graph = graph_of(poses)
    graph.add_loop(loop_of(poses, 0, 4 * SIDE, (0.02, 0.05, 0.02)))
    before = graph.problem()
    for k in range(30, len(poses)):
        graph.change_unit(k, 1.7)
    one, other = solve(before), solve(graph.problem())
    np.testing.assert_allclose(one.poses.translation, other.poses.translation, atol=1e-6)
    np.testing.assert_allclose(one.poses.scale[30:] / 1.7, other.poses.scale[30:], rtol=1e-6)
    np.testing.assert_allclose(one.cost, other.cost, rtol=1e-6, atol=1e-9)


def test_the_uncertainty_grows_along_the_way_and_a_loop_shortens_it() -> None:
    poses = square(8)
    graph = graph_of(poses)
    for k in range(1, len(poses)):
        graph.add_step(k - 1, k, relative(poses, k - 1, k))
    near, far = graph.relative(70, 72).covariance, graph.relative(2, 72).covariance
    assert far[0, 0] > 10 * near[0, 0]
    assert np.linalg.eigvalsh(far).min() > 0
    graph.add_loop(loop_of(poses, 4, 4 + 4 * SIDE, (0.02, 0.05, 0.02)))
    graph.optimise()
    found = graph.relative(2, 72)
    assert found.covariance[0, 0] < 0.6 * far[0, 0]
    difference = (relative(poses, 2, 72).inverse() @ found.relative).log()
    assert np.abs(difference).max() < 1e-6


def test_a_state_goes_on_as_the_graph_would_have() -> None:
    poses = square()
    graph = graph_of(poses)
    graph.add_loop(loop_of(poses, 0, 30, (0.02, 0.05, 0.02)))
    graph.remove(7)
    copy = PoseGraph()
    copy.load_state_dict(graph.state_dict())
    for one in (graph, copy):
        one.add_loop(loop_of(poses, 3, 40, (0.02, 0.05, 0.02)))
        one.optimise()
    assert list(graph) == list(copy)
    for k in graph:
        np.testing.assert_array_equal(graph.pose(k).rotation, copy.pose(k).rotation)
        np.testing.assert_array_equal(graph.pose(k).translation, copy.pose(k).translation)
    assert [loop.key for loop in graph.loops] == [loop.key for loop in copy.loops]


def test_two_thousand_keyframes_and_three_hundred_loops_are_quick() -> None:
    dice = np.random.default_rng(0)
    poses = []
    for k in range(2000):
        turn = rotation_exp(np.array([0, 0, 2 * np.pi * k / 250]))
        poses.append(Similarity3(np.array(1.0), turn, turn @ [4.0, 0, 0] + [0, 0, 1e-4 * k]))
    graph = PoseGraph()
    graph.add(0, 0, poses[0])
    for k in range(1, 2000):
        step = relative(poses, k - 1, k) @ Similarity3.exp(1e-3 * dice.normal(size=7))
        graph.add(k, 0, graph.pose(k - 1) @ step)
        graph.add_step(k - 1, k, step)
    for end in dice.choice(np.arange(260, 2000), 300, replace=False):
        start = int(end) - 250 * int(dice.integers(1, int(end) // 250 + 1))
        graph.add_loop(loop_of(poses, start, int(end), (0.02, 0.05, 0.02)))
    began = time.process_time()
    solution = graph.optimise()
    took = time.process_time() - began
    print(f"{took:.2f} s, {solution.steps} steps")
    assert took < 2.0
    assert worst(graph, poses) < 0.1
