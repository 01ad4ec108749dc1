# SPDX-License-Identifier: Apache-2.0
"""Finds loops and closes them: places, geometry and graph, and rules against look-alikes."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from infinitevggt_core.tracking.graph_solver import GraphProblem, GraphSolution, solve
from infinitevggt_core.tracking.graph_step import Step
from infinitevggt_core.tracking.keyframe import Keyframe
from infinitevggt_core.tracking.loop_edge import LoopEdge
from infinitevggt_core.tracking.loop_verifier import LoopVerifier
from infinitevggt_core.tracking.place import Place
from infinitevggt_core.tracking.place_index import CAPACITY, PlaceIndex
from infinitevggt_core.tracking.pose_graph import PoseGraph
from infinitevggt_core.tracking.similarity import Floats, Similarity3

WINDOW = 64
"""Latest keyframes whose pose in odom may still change."""
MOST_TEMPORARY = 2 * WINDOW
"""Keyframes beside a sealed map."""
LEAST_POINTS = 20
"""Points with depth that make a keyframe a place."""
PLAUSIBLE = 40.0
"""Squared distance, in standard deviations (7 numbers), within which two statements agree."""
PENDING = 20
"""Loops that wait for another one that says the same."""
WITNESSES = 3
"""Loops that have to agree before odometry is overruled."""
ENOUGH, TO_COMPARE = 2, 4
"""Loops of one view after which no more are looked for: in the map, and in a submap apart from it,
where only other places tell that several look alike."""
MAJORITY = 4
"""Loops that agree for each that contradicts, before they join a submap."""
BOLD = 0.2
"""Share of the way since a place by which one loop alone may move the camera."""
SETTLED = 2.0
"""Squared residual, in its own deviations, below which a new loop needs no correction at once."""
UNSOLVED = 10
"""Settled loops after which the graph is solved all the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Closure:
    """Result of a search for loops."""

    keyframe: int
    loops: tuple[LoopEdge, ...]
    """New in the graph."""
    moved: bool
    """True where poses of keyframes are corrected: all that hangs on them has to follow."""
    joined: bool
    """True where a submap found its place in the map."""


class LoopCloser:
    """The map of keyframes. One thread at a time; `problem` and `solve` may run in another.

    Believes a loop between keyframes that odometry joins if it lies within what odometry leaves
    open, and others when several say the same: rooms may look alike. Of loops of one view that
    contradict each other and that odometry does not decide between, none is believed.
    """

    def __init__(
        self,
        capacity: int = CAPACITY,
        *,
        index: PlaceIndex | None = None,
        verifier: LoopVerifier | None = None,
    ) -> None:
        """capacity: most places."""
        self.index = index or PlaceIndex(capacity)
        self.verifier = verifier or LoopVerifier()
        self.graph = PoseGraph(self.index.capacity + WINDOW)
        self.heirs: dict[int, tuple[int, Similarity3]] = {}
        """Keyframes that the latest call removed: a neighbour, and the camera in that one's."""
        self._window: dict[int, Floats] = {}
        self._pending: deque[LoopEdge] = deque(maxlen=PENDING)
        self._unsolved = 0

    def add(self, keyframe: Keyframe) -> None:
        """The newest keyframe becomes part of the graph, where odometry has it.

        Raises ValueError for a pose that is none.
        """
        if not np.isfinite(keyframe.camera_from_world).all():
            raise ValueError(f"keyframe {keyframe.index} has no pose")
        self.heirs = {}
        if len(self.graph) >= self.graph.capacity:
            self._make_room()
        pose = keyframe.camera_from_world
        last = next(reversed(self._window), None)
        if last is None or last not in self.graph:
            anchor = max(self.graph, default=None)
            start = Similarity3.identity() if anchor is None else self.graph.pose(anchor)
            self.graph.add(keyframe.index, keyframe.submap, start)
            if anchor is not None:
                self.graph.add_link(anchor, keyframe.index, Similarity3.identity())
        else:
            step = _between(self._window[last], pose)
            self.graph.add(keyframe.index, keyframe.submap, self.graph.pose(last) @ step)
            if self.graph.submap(last) == keyframe.submap:
                self.graph.add_step(last, keyframe.index, step)
            else:
                self.graph.add_link(last, keyframe.index, step)
        self._window[keyframe.index] = pose
        while len(self._window) > WINDOW:
            del self._window[next(iter(self._window))]

    def refine(self, poses: Mapping[int, Floats]) -> None:
        """Better camera_from_world (3, 4) in odom of keyframes that are still in the window."""
        self._window.update({k: pose for k, pose in poses.items() if k in self._window})
        previous: int | None = None
        for index in self._window:
            if previous is not None and (index in poses or previous in poses):
                self._refine_step(previous, index)
            previous = index

    def retire(self, keyframe: Keyframe) -> None:
        """A keyframe that left the window becomes a place, if it saw enough."""
        self.heirs = {}
        self.refine({keyframe.index: keyframe.camera_from_world})
        place = Place.of(keyframe)
        if keyframe.index not in self.graph or place.has_depth.sum() < LEAST_POINTS:
            return
        dropped = self.index.add(place, self.verifier.same_view)
        if dropped is not None and dropped in self.graph:
            self._remove(dropped)

    def seal(self) -> None:
        """Keep the keyframes that are there where they are; those that follow are temporary."""
        self.graph.sealed = frozenset(self.graph)
        self.graph.capacity = len(self.graph) + MOST_TEMPORARY

    def unseal(self) -> None:
        """Let keyframes move again; temporary ones become part of the map."""
        self.graph.sealed = frozenset()
        self.graph.capacity = self.index.capacity + WINDOW
        while len(self.graph) > self.graph.capacity:
            self._make_room()

    def search(self, keyframe: Keyframe) -> list[LoopEdge]:
        """Loops from old places to a keyframe, by appearance and geometry alone, best first."""
        view = Place.of(keyframe)
        is_lost = keyframe.submap not in self.graph.joined_submaps()
        enough = TO_COMPARE if is_lost else ENOUGH
        return self.verifier.search(self.index.candidates(view), view, enough)

    def close(self, keyframe: Keyframe) -> Closure:
        """Search for loops, and correct the graph by those that can be believed.

        `search`, `accept`, and where something moved `solve(problem())` and `apply`: only `accept`
        and `apply` change anything, and they are quick.
        """
        closure = self.accept(keyframe, self.search(keyframe))
        if closure.moved:
            self.apply(solve(self.problem()))
        return closure

    def accept(self, keyframe: Keyframe, loops: list[LoopEdge]) -> Closure:
        """Add the loops that can be believed to the graph, which is not solved yet."""
        believed = self.judge([loop for loop in loops if self._is_here(loop)])
        joined = [self._join(loop) for loop in believed]
        kept = tuple(loop for loop in believed if self.graph.add_loop(loop))
        self._unsolved += len(kept)
        moved = bool(kept) and (
            any(joined) or self._unsolved >= UNSOLVED or any(map(self._is_off, kept))
        )
        return Closure(keyframe.index, kept, moved, any(joined))

    def problem(self) -> GraphProblem:
        """As `PoseGraph.problem`, for solving in another thread."""
        return self.graph.problem()

    def apply(self, solution: GraphSolution) -> None:
        """As `PoseGraph.apply`."""
        self.graph.apply(solution)
        self._unsolved = 0

    def judge(self, loops: list[LoopEdge]) -> list[LoopEdge]:
        """The loops of one view that can be believed, after what is known and what is waiting."""
        plausible = [loop for loop in loops if self._is_plausible(loop)]
        if plausible and not all(map(self._is_bold, plausible)):
            return plausible
        if any(self._agree(one, other) is False for one, other in combinations(loops, 2)):
            self._pending.extend(loops)
            return []  # two places look alike
        self._pending.extend(loops)
        for loop in loops:
            others = {other: self._agree(loop, other) for other in self._pending}
            witnesses = [other for other, agrees in others.items() if agrees and other is not loop]
            against = sum(agrees is False for agrees in others.values())
            if len(witnesses) >= MAJORITY * against and self._suffice(loop, witnesses):
                self._pending.clear()
                return [loop, *witnesses]
        return []

    def state_dict(self) -> dict[str, Any]:
        """Arrays and numbers alone; loops that wait are forgotten."""
        return {
            "index": self.index.state_dict(),
            "graph": self.graph.state_dict(),
            "window": list(self._window),
            "window_poses": np.array(list(self._window.values())).reshape(-1, 3, 4),
            "unsolved": self._unsolved,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises KeyError or ValueError for a broken state; nothing is changed then."""
        index, graph = PlaceIndex(self.index.capacity, self.index.vocabulary), PoseGraph()
        index.load_state_dict(state["index"])
        graph.load_state_dict(state["graph"])
        window = {
            int(k): pose for k, pose in zip(state["window"], state["window_poses"], strict=True)
        }
        self._unsolved = int(state["unsolved"])
        self.index, self.graph, self._window = index, graph, window
        self._pending.clear()
        self.heirs = {}

    def _is_here(self, loop: LoopEdge) -> bool:
        return loop.from_index in self.graph and loop.to_index in self.graph

    def _known(self, first: int, second: int) -> Step | None:
        """Return the relative pose of two keyframes by the graph; None if nothing joins them."""
        if not {first, second} <= set(self.graph):
            return None
        ours = self.graph.joined_submaps(self.graph.submap(first))
        if self.graph.submap(second) not in ours:
            return None
        return self.graph.relative(first, second)

    def _is_plausible(self, loop: LoopEdge) -> bool:
        expected = self._known(*loop.key)
        return expected is not None and _fits(_step(loop), expected)

    def _is_bold(self, loop: LoopEdge) -> bool:
        """Tell whether a loop moves the camera far, for the way since it was at the place."""
        graph = self.graph
        centers = np.array([graph.pose(k).translation for k in graph.way(*loop.key)])
        way = float(np.linalg.norm(np.diff(centers, axis=0), axis=1).sum())
        there = graph.pose(loop.from_index) @ loop.relative
        jump = float(np.linalg.norm(there.translation - centers[-1]))
        own = float(np.sqrt(loop.covariance[3:6, 3:6].trace()) * there.scale)
        return jump > max(BOLD * way, 3 * own)

    def _agree(self, one: LoopEdge, other: LoopEdge) -> bool | None:
        """Tell whether two loops say the same about how two parts of the map lie; None where they
        are not about the same two."""
        start = self._known(one.from_index, other.from_index)
        end = self._known(other.to_index, one.to_index)
        if start is None or end is None:
            return None
        return _fits(_step(one), start.then(_step(other)).then(end))

    def _suffice(self, loop: LoopEdge, witnesses: list[LoopEdge]) -> bool:
        """Tell whether enough of them agree.

        Two join submaps or move the camera far. Three overrule odometry, if they are as far apart
        as they move the camera: in a room that looks like another they cannot be.
        """
        expected = self._known(*loop.key)
        if expected is None or _fits(_step(loop), expected):
            return len(witnesses) >= 1
        if len(witnesses) + 1 < WITNESSES:
            return False
        ends = [self.graph.pose(one.to_index).translation for one in (loop, *witnesses)]
        apart = max(float(np.linalg.norm(end - ends[0])) for end in ends)
        off = loop.relative.translation - expected.relative.translation
        return apart > float(np.linalg.norm(off) * self.graph.pose(loop.from_index).scale)

    def _is_off(self, loop: LoopEdge) -> bool:
        """Tell whether the graph does not lie as a loop has it."""
        between = self.graph.pose(loop.from_index).inverse() @ self.graph.pose(loop.to_index)
        return _distance(_step(loop), between, loop.covariance) > SETTLED

    def _join(self, loop: LoopEdge) -> bool:
        """Put a submap where a loop says, if nothing else does; the oldest keyframe stays."""
        graph = self.graph
        start, end = (graph.submap(index) for index in loop.key)
        ours = graph.joined_submaps(start)
        if end in ours:
            return False
        fixed, moving, relative = *loop.key, loop.relative
        theirs = graph.joined_submaps(end)
        if graph.submap(graph.oldest) in theirs:
            fixed, moving, relative, theirs = moving, fixed, relative.inverse(), ours
        move = graph.pose(fixed) @ relative @ graph.pose(moving).inverse()
        graph.place({k: move @ graph.pose(k) for k in graph if graph.submap(k) in theirs})
        return True

    def _refine_step(self, previous: int, index: int) -> None:
        graph = self.graph
        if not graph.has_step(previous, index) or graph.submap(previous) != graph.submap(index):
            return
        step = _between(self._window[previous], self._window[index])
        graph.add_step(previous, index, step)
        graph.place({index: graph.pose(previous) @ step})

    def _make_room(self) -> None:
        """Remove a keyframe that is no place, or else the place that says least."""
        for index in self.graph:
            is_kept = index in self._window or index in self.graph.sealed
            if index not in self.index and not is_kept:
                self._remove(index)
                return
        poorest = min(self.index, key=lambda place: (place.has_depth.sum(), place.index))
        self.index.remove(poorest.index)
        self._remove(poorest.index)

    def _remove(self, index: int) -> None:
        heir = self.graph.remove(index)
        if heir is not None:
            self.heirs[index] = heir


def _between(first: Floats, second: Floats) -> Similarity3:
    """camera_from_world (3, 4) of two keyframes -> camera of the first <- camera of the second."""
    return Similarity3.from_rigid(first) @ Similarity3.from_rigid(second).inverse()


def _step(loop: LoopEdge) -> Step:
    return Step(loop.relative, loop.covariance)


def _distance(one: Step, other: Similarity3, covariance: Floats) -> float:
    """Squared, in standard deviations of (7, 7)."""
    residual = (one.relative.inverse() @ other).log()
    return float(residual @ np.linalg.solve(covariance, residual))


def _fits(one: Step, other: Step) -> bool:
    """Tell whether two statements about the same two cameras agree."""
    covariance = one.covariance + other.covariance
    return _distance(one, other.relative, covariance) < PLAUSIBLE
