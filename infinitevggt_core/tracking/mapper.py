# SPDX-License-Identifier: Apache-2.0
"""World made of keyframes: loops, submaps and where odom lies in the map."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from infinitevggt_core.tracking.keyframe import Keyframe
from infinitevggt_core.tracking.loop_closer import Closure, LoopCloser
from infinitevggt_core.tracking.loop_edge import LoopEdge
from infinitevggt_core.tracking.place_index import CAPACITY
from infinitevggt_core.tracking.rigid import IDENTITY, Floats, compose, inverse
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_core.tracking.tracked_frame import TrackedPose

logger = logging.getLogger(__name__)
ERRORS = (cv2.error, ArithmeticError, np.linalg.LinAlgError, ValueError, KeyError, IndexError)
MOST_WAITING = 32
"""Jobs of the map's thread that may wait; a search for loops is left out before that."""
SEARCHES_WAITING = 1
MOST_CLOSURES = 16


@dataclass(frozen=True, slots=True, eq=False)
class MappedFrame:
    """Pose of an image in odom and in the map, both in the map's unit."""

    camera_from_odom: Floats
    """(3, 4). Without jumps but those of the window's adjustment."""
    map_from_odom: Floats
    """(3, 4). Changes at closures only."""
    unit: float
    """Units of the map per unit of the tracker now: depths of the tracker times this."""
    located: bool
    """True where the trajectory hangs together with the map; else `map_from_odom` stands still."""
    version: int
    """Number of corrections so far: where it grew, poses of keyframes have moved."""

    @property
    def camera_from_map(self) -> Floats:
        """(3, 4)."""
        return compose(self.camera_from_odom, inverse(self.map_from_odom))


class Mapper:
    """Listener of a `Tracker` that owns the places and the graph of keyframes.

    Give it to the tracker as `listener` and pass each answer of the tracker to `place`.
    """

    def __init__(
        self, capacity: int = CAPACITY, *, background: bool = True, read_only: bool = False
    ) -> None:
        """capacity: most places. background: search for loops in a thread; else at once.

        read_only: find the camera in the places that are there, and make no new ones.
        """
        self.capacity = capacity
        self._clear()
        self._lock = threading.RLock()
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(MOST_WAITING)
        self._searches = 0
        self._thread: threading.Thread | None = None
        if background:
            self._thread = threading.Thread(target=self._work, name="map", daemon=True)
            self._thread.start()
        self.set_read_only(read_only)

    def _clear(self) -> None:
        self.closer = LoopCloser(self.capacity)
        self._sealed: dict[str, Any] | None = None
        self.loops = 0
        """Loops in the graph so far."""
        self.version = 0
        """Corrections so far."""
        self._closures: deque[Closure] = deque(maxlen=MOST_CLOSURES)
        self._unit = 1.0
        self._anchor, self._anchor_out = IDENTITY.copy(), IDENTITY.copy()
        self._map_from_odom = IDENTITY.copy()
        self._seen_version = 0

    def reset(self) -> None:
        """Forget the map; the tracker has to be reset too."""
        self.finish()
        with self._lock:
            read_only = self.read_only
            self._clear()
            self.set_read_only(read_only)

    @property
    def read_only(self) -> bool:
        """True while the map stays as it is: no keyframe of it moves, and none is added."""
        return self._sealed is not None

    def set_read_only(self, read_only: bool) -> None:
        """Seal the map as it is now, or let it grow again from where the camera is."""
        if read_only == self.read_only:
            return
        self.finish()
        with self._lock:
            if read_only:
                self._sealed = self.closer.state_dict()
                self.closer.seal()
            else:
                self._sealed = None
                self.closer.unseal()

    # ---- what the tracker tells ----

    def on_new_keyframe(self, keyframe: Keyframe) -> None:
        """Put the newest keyframe into the graph and look whether it was here before."""
        self._do(lambda: self.closer.add(keyframe))
        if self._searches < SEARCHES_WAITING:
            self._searches += 1
            self._do(lambda: self._search(keyframe))

    def on_keyframe_left_window(self, keyframe: Keyframe) -> None:
        """Make a place of a keyframe that is final."""
        if not self.read_only or keyframe.index in self.closer.graph.sealed:
            self._do(lambda: self.closer.retire(keyframe))

    def on_window(self, poses: dict[int, Floats]) -> None:
        """Take over adjusted poses."""
        self._do(lambda: self.closer.refine(poses))

    # ---- what the node asks ----

    def place(self, frame: TrackedPose) -> MappedFrame:
        """Return where an answer of the tracker lies in odom and in the map."""
        with self._lock:
            located = self._located(frame)
            # the thread may not have added the newest keyframe yet
            is_known = located and frame.reference in self.closer.graph
            if self.version != self._seen_version and is_known:
                self._correct(frame)
            out = self._to_odom(frame.camera_from_world)
            return MappedFrame(out, self._map_from_odom, self._unit, located, self.version)

    def camera_from_map(self, frame: TrackedPose) -> Floats | None:
        """Return the pose (3, 4) of an earlier answer as known now; None where it is not known."""
        with self._lock:
            if frame.reference not in self.closer.graph:
                return None
            return self._camera_from_map(frame)

    def keyframe_poses(self) -> dict[int, Similarity3]:
        """Return world_from_camera in the map, by the numbers of the keyframes."""
        with self._lock:
            return {index: self.closer.graph.pose(index) for index in self.closer.graph}

    def world_from_camera(self, index: int) -> Similarity3 | None:
        """Return the corrected pose of a keyframe; None where it is no longer known."""
        with self._lock:
            graph = self.closer.graph
            return graph.pose(index) if index in graph else None

    def loop_edges(self) -> list[LoopEdge]:
        """Return the loops in the graph."""
        with self._lock:
            return list(self.closer.graph.loops)

    def take_closure(self) -> Closure | None:
        """Return the oldest closure that was not taken yet, each once."""
        with self._lock:
            return self._closures.popleft() if self._closures else None

    def finish(self) -> None:
        """Wait until all that was told is worked in."""
        if self._thread is not None:
            self._jobs.join()

    def close(self) -> None:
        """Stop the thread."""
        if self._thread is not None and self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        self._thread = None

    def state_dict(self) -> dict[str, Any]:
        """Return all that is known, as numbers and numpy arrays; `sealed`: the read-only map."""
        self.finish()
        with self._lock:
            return {
                "closer": self.closer.state_dict(),
                "sealed": self._sealed,
                "loops": self.loops,
                "version": self.version,
                "unit": self._unit,
                "anchor": self._anchor.copy(),
                "anchor_out": self._anchor_out.copy(),
                "map_from_odom": self._map_from_odom.copy(),
                "seen_version": self._seen_version,
            }

    def load_state_dict(self, state: dict[str, Any], *, resume: bool = True) -> None:
        """Go on from a snapshot. Raises KeyError or ValueError for a broken one.

        resume: the next image follows the last one of the snapshot, and the map is read-only if it
        was; else only the map itself is taken, without what was added beside a read-only one.
        """
        self.finish()
        with self._lock:
            sealed = state.get("sealed")
            self.closer.load_state_dict(state["closer"] if resume or not sealed else sealed)
            self._sealed = sealed if resume else None
            if self._sealed is not None:
                indices = self._sealed["graph"]["indices"]
                self.closer.graph.sealed = frozenset(int(index) for index in indices)
            self.loops, self.version = int(state["loops"]), int(state["version"])
            self._seen_version, self._unit = int(state["seen_version"]), float(state["unit"])
            for name in ("anchor", "anchor_out", "map_from_odom"):
                setattr(self, f"_{name}", np.array(state[name], np.float64))

    # ---- inside ----

    def _do(self, job: Callable[[], None]) -> None:
        """Run a job at once, or after those that wait."""
        if self._thread is None:
            self._run(job)
        else:
            self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._run(job)
            self._jobs.task_done()
        self._jobs.task_done()

    def _run(self, job: Callable[[], None]) -> None:
        """Run a job; what fails costs this keyframe."""
        try:
            with self._lock:
                job()
        except ERRORS as error:
            logger.debug("map: %s", error, exc_info=True)

    def _search(self, keyframe: Keyframe) -> None:
        self._searches -= 1
        closure: Closure = self.closer.close(keyframe)
        self.loops += len(closure.loops)
        if closure.moved or closure.joined:
            self.version += 1
            self._closures.append(closure)

    def _located(self, frame: TrackedPose) -> bool:
        """Return whether the trajectory of an answer hangs together with the oldest keyframe."""
        graph = self.closer.graph
        if not len(graph):
            return True
        return frame.submap in graph.joined_submaps(graph.submap(graph.oldest))

    def _to_odom(self, camera_from_world: Floats) -> Floats:
        """Bring a pose of the tracker into odom, whose unit changes at closures."""
        motion = compose(camera_from_world, inverse(self._anchor))
        motion[:, 3] *= self._unit
        return compose(motion, self._anchor_out)

    def _correct(self, frame: TrackedPose) -> None:
        """Let odom go on where it is, in the corrected unit, and move it in the map."""
        out = self._to_odom(frame.camera_from_world)
        self._anchor, self._anchor_out = frame.camera_from_world.copy(), out
        self._unit = float(self.closer.graph.pose(frame.reference).scale)
        self._map_from_odom = compose(inverse(self._camera_from_map(frame)), out)
        self._seen_version = self.version

    def _camera_from_map(self, frame: TrackedPose) -> Floats:
        pose = self.closer.graph.pose(frame.reference)
        place = pose @ Similarity3.from_rigid(frame.camera_from_reference).inverse()
        shift = -place.rotation.T @ place.translation
        return np.concatenate((place.rotation.T, shift[:, None]), axis=1)
