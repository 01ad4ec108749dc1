# SPDX-License-Identifier: Apache-2.0
"""The graph of keyframes: Sim(3) poses, odometry between them, loops; bounded."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from infinitevggt_core.tracking.graph_solver import GraphProblem, GraphSolution, solve
from infinitevggt_core.tracking.graph_step import Step, diagonal
from infinitevggt_core.tracking.loop_edge import LoopEdge
from infinitevggt_core.tracking.similarity import Similarity3

CAPACITY = 4000
LOOPS_OF_A_PLACE = 4
ODOMETRY_SIGMAS = (0.01, 0.03, 0.03)
"""Standard deviations of a step: rad, share of the step's length, log scale."""
LINK_SIGMAS = (3.0, 50.0, 1.0)
"""Those between two submaps; the length is in usual steps."""
AGREES = 24.3
"""Squared residual, in standard deviations, of a loop that is accepted: 99.9 % of 7 numbers."""
Key = tuple[int, int]


class PoseGraph:
    """Keyframes by their number; poses are world_from_camera, in the map.

    The oldest keyframe stays where it is. Where a keyframe is removed, its edges are composed.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        """capacity: most keyframes it holds. One more raises RuntimeError: remove one first."""
        self.capacity = capacity
        self._poses: dict[int, Similarity3] = {}
        self._submaps: dict[int, int] = {}
        self._steps: dict[Key, Step] = {}
        self._loops: dict[Key, LoopEdge] = {}
        self._edges_at: dict[int, set[Key]] = {}
        self._usual_step = 0.0
        self.sealed: frozenset[int] = frozenset()
        """Keyframes that stay where they are."""
        self._joined: dict[int, set[int]] = {}
        """Answers of `joined_submaps`, while no edge changes."""

    def __len__(self) -> int:
        return len(self._poses)

    def __contains__(self, index: int) -> bool:
        return index in self._poses

    def __iter__(self) -> Iterator[int]:
        """Keyframes in the order in which they were added."""
        return iter(self._poses)

    @property
    def loops(self) -> list[LoopEdge]:
        """All loops, accepted or not."""
        return list(self._loops.values())

    @property
    def step_count(self) -> int:
        return len(self._steps)

    @property
    def oldest(self) -> int:
        """The keyframe that stays where it is. Raises ValueError for an empty graph."""
        return min(self._poses)

    def pose(self, index: int) -> Similarity3:
        """world_from_camera. Raises KeyError for a keyframe that is not here."""
        return self._poses[index]

    def submap(self, index: int) -> int:
        """Raises KeyError for a keyframe that is not here."""
        return self._submaps[index]

    def add(self, index: int, submap: int, pose: Similarity3) -> None:
        """A keyframe whose edges follow. Raises RuntimeError when full."""
        if len(self._poses) >= self.capacity:
            raise RuntimeError(f"the graph is full: {self.capacity} keyframes")
        self._joined.clear()
        self._poses[index] = pose
        self._submaps[index] = submap
        self._edges_at.setdefault(index, set())

    def add_step(self, first: int, second: int, relative: Similarity3) -> None:
        """Odometry, camera of `first` <- camera of `second`; replaces what was said before."""
        length = float(np.linalg.norm(relative.translation))
        self._usual_step = 0.95 * self._usual_step + 0.05 * length if self._usual_step else length
        turn, share, log_scale = ODOMETRY_SIGMAS
        shift = share * max(length, self._usual_step, 1e-9) / float(relative.scale)
        self._set_step((first, second), Step(relative, diagonal(turn, shift, log_scale)))

    def add_link(self, first: int, second: int, relative: Similarity3) -> None:
        """A guess how a new submap lies to the one before it."""
        turn, steps, log_scale = LINK_SIGMAS
        shift = steps * max(self._usual_step, 1e-9) / float(relative.scale)
        self._set_step((first, second), Step(relative, diagonal(turn, shift, log_scale), True))

    def add_loop(self, loop: LoopEdge) -> bool:
        """Keep a loop, unless one of its ends has four better ones.

        Raises KeyError for keyframes that are not here.
        """
        start, end = loop.key
        if start not in self._poses or end not in self._poses or start == end:
            raise KeyError(f"no loop between keyframes {start} and {end}")
        known = self._loops.get(loop.key)
        if known is not None and known.inliers >= loop.inliers:
            return False
        rivals = [self._rival(index, loop) for index in loop.key]
        if any(rival is not None and not _is_better(loop, rival) for rival in rivals):
            return False
        for rival in rivals:
            if rival is not None:
                self._drop_loop(rival.key)
        self._joined.clear()
        self._loops[loop.key] = loop
        for index in loop.key:
            self._edges_at[index].add(loop.key)
        return True

    def remove(self, index: int) -> tuple[int, Similarity3] | None:
        """Forget a keyframe: its steps become one, its loops go over to a neighbour.

        Says which, and how the removed camera lies in the neighbour's, for what hung on it; None
        without one. Raises KeyError for a keyframe that is not here.
        """
        self._joined.clear()
        pose = self._poses.pop(index)
        del self._submaps[index]
        keys = sorted(self._edges_at.pop(index))
        steps = [self._seen_from(index, key) for key in keys if key in self._steps]
        loops = [self._loops.pop(key) for key in keys if key in self._loops]
        for key in keys:
            self._steps.pop(key, None)
            self._edges_at[_other_end(index, key)].discard(key)
        if not steps:
            return None
        steps.sort(key=lambda found: (found[1].is_link, found[1].doubt, found[0]))
        heir, to_heir = steps[0]
        for other, step in steps[1:]:
            self._join(heir, other, to_heir.reversed().then(step))
        for loop in loops:
            self._inherit(heir, to_heir, index, loop)
        return heir, self._poses[heir].inverse() @ pose

    def change_unit(self, index: int, factor: float) -> None:
        """Lengths in this keyframe's camera become `factor` times as many; the map stays."""
        shrink = Similarity3(np.array(1 / factor), np.eye(3), np.zeros(3))
        self._poses[index] = self._poses[index] @ shrink
        for key in self._edges_at[index]:
            edge = self._steps.get(key) or self._loops[key]
            relative, covariance = edge.relative, edge.covariance
            if key[0] == index:
                relative = shrink.inverse() @ relative
            else:
                relative = relative @ shrink
                grow = shrink.inverse().adjoint()
                covariance = grow @ covariance @ grow.T
            if isinstance(edge, Step):
                self._steps[key] = replace(edge, relative=relative, covariance=covariance)
            else:
                self._loops[key] = replace(edge, relative=relative, covariance=covariance)

    def problem(self) -> GraphProblem:
        """A copy of all that the solver needs, for any thread."""
        indices = list(self._poses)
        row = {index: k for k, index in enumerate(indices)}
        edges: list[tuple[Key, Step | LoopEdge]] = [*self._steps.items(), *self._loops.items()]
        fixed = np.zeros(len(indices), dtype=np.bool_)
        if indices:
            fixed[[row[self.oldest], *(row[k] for k in self.sealed if k in row)]] = True
        return GraphProblem(
            indices=np.array(indices, dtype=np.int64),
            poses=Similarity3.stack([self._poses[index] for index in indices]),
            fixed=fixed,
            first=np.array([row[key[0]] for key, _ in edges], dtype=np.int64),
            second=np.array([row[key[1]] for key, _ in edges], dtype=np.int64),
            measured=Similarity3.stack([edge.relative for _, edge in edges]),
            covariances=np.array([edge.covariance for _, edge in edges]).reshape(-1, 7, 7),
            robust=np.arange(len(edges)) >= len(self._steps),
        )

    def apply(self, solution: GraphSolution) -> None:
        """Take a solution over. Keyframes added since hang on to their neighbours."""
        solved = {int(index): k for k, index in enumerate(solution.indices)}
        old = dict(self._poses)
        for index in self._poses:
            if index in solved and index not in self.sealed:
                self._poses[index] = solution.poses[solved[index]]
        for index in self._poses:
            if index not in solved and index not in self.sealed:
                self._hang(index, old)
        self._judge_loops()

    def optimise(self) -> GraphSolution:
        """`problem`, `solve` and `apply` at once."""
        solution = solve(self.problem())
        self.apply(solution)
        return solution

    def has_step(self, first: int, second: int) -> bool:
        return (first, second) in self._steps

    def place(self, poses: Mapping[int, Similarity3]) -> None:
        """Set poses, where the keyframes are here and not sealed."""
        self._poses.update(
            {k: pose for k, pose in poses.items() if k in self._poses and k not in self.sealed}
        )

    def joined_submaps(self, submap: int | None = None) -> set[int]:
        """Submaps that odometry or accepted loops join to one, or to the oldest keyframe's."""
        if not self._poses:
            return set()
        start = self._submaps[self.oldest] if submap is None else submap
        if start not in self._joined:
            self._joined[start] = self._find_joined(start)
        return self._joined[start]

    def _find_joined(self, submap: int) -> set[int]:
        pairs = [key for key, step in self._steps.items() if not step.is_link]
        pairs += [loop.key for loop in self._loops.values() if loop.accepted]
        neighbours: dict[int, set[int]] = {}
        for one, other in pairs:
            a, b = self._submaps[one], self._submaps[other]
            neighbours.setdefault(a, set()).add(b)
            neighbours.setdefault(b, set()).add(a)
        joined: set[int] = set()
        waiting = [submap]
        while waiting:
            reached = waiting.pop()
            if reached not in joined:
                joined.add(reached)
                waiting += neighbours.get(reached, ())
        return joined

    def relative(self, first: int, second: int) -> Step:
        """Camera of `first` <- camera of `second`: the graph's pose, and the uncertainty of the
        most certain way between the two along steps and accepted loops.

        Raises KeyError where no way is.
        """
        way = self.way(first, second)
        whole = Step(Similarity3.identity(), np.zeros((7, 7)))
        for previous, following in pairwise(way):
            between = self._poses[previous].inverse() @ self._poses[following]
            edge = self._edge(previous, following)
            whole = whole.then(replace(edge, relative=between))
        return whole

    def state_dict(self) -> dict[str, Any]:
        """Arrays and numbers alone; `load_state_dict` goes on from it."""
        steps = list(self._steps.items())
        return {
            "capacity": self.capacity,
            "usual_step": self._usual_step,
            "indices": np.array(list(self._poses), dtype=np.int64),
            "submaps": np.array(list(self._submaps.values()), dtype=np.int64),
            "poses": Similarity3.stack(list(self._poses.values())).state_dict(),
            "steps": np.array([key for key, _ in steps], dtype=np.int64).reshape(-1, 2),
            "step_poses": Similarity3.stack([step.relative for _, step in steps]).state_dict(),
            "step_covariances": np.array([x.covariance for _, x in steps]).reshape(-1, 7, 7),
            "step_links": np.array([step.is_link for _, step in steps], dtype=np.bool_),
            "loops": [loop.state_dict() for loop in self._loops.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises KeyError for a missing part; nothing is changed then."""
        fresh = PoseGraph(int(state["capacity"]))
        poses = Similarity3.from_state(state["poses"])
        for k, (index, submap) in enumerate(zip(state["indices"], state["submaps"], strict=True)):
            fresh.add(int(index), int(submap), poses[k])
        relative = Similarity3.from_state(state["step_poses"])
        covariances = np.asarray(state["step_covariances"], dtype=np.float64)
        for k, (first, second) in enumerate(state["steps"]):
            step = Step(relative[k], covariances[k], bool(state["step_links"][k]))
            fresh._set_step((int(first), int(second)), step)
        for part in state["loops"]:
            fresh.add_loop(LoopEdge.from_state(part))
        fresh._usual_step = float(state["usual_step"])
        self.__dict__.update(fresh.__dict__)

    def _set_step(self, key: Key, step: Step) -> None:
        if key[0] not in self._poses or key[1] not in self._poses or key[0] == key[1]:
            raise KeyError(f"no step between keyframes {key[0]} and {key[1]}")
        if key not in self._steps:
            self._joined.clear()
        self._steps[key] = step
        for index in key:
            self._edges_at[index].add(key)

    def _seen_from(self, index: int, key: Key) -> tuple[int, Step]:
        """The other end of a step, and the step as seen from `index`."""
        step = self._steps[key]
        return _other_end(index, key), step if key[0] == index else step.reversed()

    def _rival(self, index: int, loop: LoopEdge) -> LoopEdge | None:
        """The poorest loop of a keyframe, where it has no room for one more."""
        here = [self._loops[key] for key in self._edges_at[index] if key in self._loops]
        here = [other for other in here if other.key != loop.key]
        if len(here) < LOOPS_OF_A_PLACE:
            return None
        return min(here, key=lambda other: (other.accepted, other.inliers, other.key))

    def _drop_loop(self, key: Key) -> None:
        if self._loops.pop(key, None) is not None:
            for end in key:
                self._edges_at[end].discard(key)

    def _join(self, first: int, second: int, step: Step) -> None:
        """A composed step, where none is."""
        if first > second:
            first, second, step = second, first, step.reversed()
        known = self._steps.get((first, second))
        if known is None or known.is_link:
            self._set_step((first, second), step)

    def _inherit(self, heir: int, to_heir: Step, index: int, loop: LoopEdge) -> None:
        """A removed keyframe's loop begins or ends at its neighbour."""
        whole = Step(loop.relative, loop.covariance)
        start, end = loop.key
        if start == index:
            start, whole = heir, to_heir.reversed().then(whole)
        else:
            end, whole = heir, whole.then(to_heir)
        if start != end:
            moved = replace(loop, from_index=start, to_index=end)
            self.add_loop(replace(moved, relative=whole.relative, covariance=whole.covariance))

    def _hang(self, index: int, old: Mapping[int, Similarity3]) -> None:
        """Keep a keyframe's pose relative to an older neighbour's."""
        before = [
            one for one, other in self._edges_at[index] & self._steps.keys() if other == index
        ]
        if before:
            anchor = max(before)
            self._poses[index] = self._poses[anchor] @ (old[anchor].inverse() @ old[index])

    def _judge_loops(self) -> None:
        """Find which loops the poses agree with."""
        self._joined.clear()
        for loop in self.loops:
            between = self._poses[loop.from_index].inverse() @ self._poses[loop.to_index]
            residual = (loop.relative.inverse() @ between).log()
            accepted = bool(residual @ np.linalg.solve(loop.covariance, residual) < AGREES)
            if loop.accepted != accepted:
                self._loops[loop.key] = replace(loop, accepted=accepted)

    def _edge(self, previous: int, following: int) -> Step:
        """The most certain edge between two neighbours, as seen from `previous`."""
        found = []
        for key in ((previous, following), (following, previous)):
            edges = [self._steps[key]] if key in self._steps else []
            if key in self._loops and self._loops[key].accepted:
                edges.append(Step(self._loops[key].relative, self._loops[key].covariance))
            found += [edge if key[0] == previous else edge.reversed() for edge in edges]
        return min(found, key=lambda edge: edge.doubt)

    def way(self, first: int, second: int) -> list[int]:
        """The most certain way between two keyframes along steps and accepted loops, both included.

        Raises KeyError where no way is.
        """
        indices = list(self._poses)
        row = {index: k for k, index in enumerate(indices)}
        edges = [(key, step.doubt) for key, step in self._steps.items()]
        edges += [
            (loop.key, float(loop.covariance[0, 0] + loop.covariance[6, 6]))
            for loop in self._loops.values()
            if loop.accepted
        ]
        doubts = {tuple(sorted(key)): doubt for key, doubt in sorted(edges, key=lambda e: -e[1])}
        ends = np.array([(row[one], row[other]) for one, other in doubts]).reshape(-1, 2)
        ends = ends.astype(np.int32)
        shape = len(indices), len(indices)
        graph = csr_matrix((list(doubts.values()), (ends[:, 0], ends[:, 1])), shape=shape)
        _, before = dijkstra(graph, directed=False, indices=row[first], return_predecessors=True)
        way = [row[second]]
        while way[-1] != row[first]:
            way.append(int(before[way[-1]]))
            if way[-1] < 0:
                raise KeyError(f"nothing joins keyframes {first} and {second}")
        return [indices[k] for k in reversed(way)]


def _other_end(index: int, key: Key) -> int:
    return key[1] if key[0] == index else key[0]


def _is_better(loop: LoopEdge, rival: LoopEdge) -> bool:
    return not rival.accepted or loop.inliers > rival.inliers
