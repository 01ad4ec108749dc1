# SPDX-License-Identifier: Apache-2.0
"""All places that were seen, at most so many, and which of them look like a view."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from infinitevggt_core.tracking.place import Place
from infinitevggt_core.tracking.vocabulary import Floats32, Vocabulary

CAPACITY = 2000
CANDIDATES = 12
LEAST_AGE = 30
"""Keyframes between a view and a place of the same submap."""
NEIGHBOURS = 3
"""Keyframes before and after a candidate that are no candidates beside it."""
TWINS_TRIED = 3
"""Places that a new one is compared with when the index is full."""
SameView = Callable[[Place, Place], bool]


class PlaceIndex:
    """Places by the number of their keyframe, compared by their words.

    Where it is full, one place goes for each that comes: of two that show the same the one with
    fewer points, or else one of the two that look most alike.
    """

    def __init__(self, capacity: int = CAPACITY, vocabulary: Vocabulary | None = None) -> None:
        """capacity: most places it holds; at least 2."""
        if capacity < 2:
            raise ValueError(f"an index needs room for two places, not {capacity}")
        self.capacity = capacity
        self.vocabulary = vocabulary or Vocabulary.load()
        self._places: dict[int, Place] = {}
        self._row: dict[int, int] = {}
        size = len(self.vocabulary.words)
        self._histograms = np.zeros((capacity, size), dtype=np.float32)
        self._indices = np.full(capacity, -1, dtype=np.int64)
        self._submaps = np.full(capacity, -1, dtype=np.int64)
        self._likeness = np.full(capacity, -1.0, dtype=np.float32)
        """Upper bounds of the similarity of each place to the one most like it."""

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, index: int) -> bool:
        return index in self._places

    def __iter__(self) -> Iterator[Place]:
        """Places, oldest first."""
        return iter(self._places.values())

    def __getitem__(self, index: int) -> Place:
        """Raises KeyError for a place that is not here."""
        return self._places[index]

    @property
    def nbytes(self) -> int:
        return self._histograms.nbytes + sum(place.nbytes for place in self._places.values())

    def add(self, place: Place, same_view: SameView | None = None) -> int | None:
        """Keep a place, and say which keyframe's went for it, if one did; it may be this one's.

        same_view: tells whether two places show the same, such as `LoopVerifier.same_view`.
        """
        if place.index in self._places:
            self.remove(place.index)
        histogram = self.vocabulary.histogram(place.descriptors)
        dropped = None
        if len(self._places) >= self.capacity:
            dropped = self._superfluous(place, histogram, same_view)
            if dropped == place.index:
                return dropped
            self.remove(dropped)
        self._keep(place, histogram)
        return dropped

    def remove(self, index: int) -> None:
        """Raises KeyError for a place that is not here."""
        row = self._row.pop(index)
        del self._places[index]
        self._histograms[row] = 0
        self._indices[row] = self._submaps[row] = -1
        self._likeness[row] = -1

    def candidates(self, view: Place, count: int = CANDIDATES) -> list[Place]:
        """Places that look like a view, best first; none that was left just before."""
        scores = self._histograms @ self.vocabulary.histogram(view.descriptors)
        recent = (self._submaps == view.submap) & (np.abs(self._indices - view.index) < LEAST_AGE)
        scores[recent | (self._indices < 0)] = 0
        found: list[Place] = []
        for _ in range(min(count, len(self._places))):
            row = int(scores.argmax())
            if scores[row] <= 0:
                break
            found.append(self._places[int(self._indices[row])])
            near = np.abs(self._indices - self._indices[row]) <= NEIGHBOURS
            scores[near & (self._submaps == self._submaps[row])] = 0
        return found

    def state_dict(self) -> dict[str, Any]:
        """Arrays and numbers alone; `load_state_dict` goes on from it, with the same vocabulary."""
        order = list(self._places)
        rows = [self._row[index] for index in order]
        return {
            "capacity": self.capacity,
            "words": self.vocabulary.words,
            "rows": np.array(rows, dtype=np.int64),
            "likeness": self._likeness[rows],
            "places": [self._places[index].state_dict() for index in order],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises KeyError or ValueError for a broken state; nothing is changed then."""
        fresh = PlaceIndex(int(state["capacity"]), self.vocabulary)
        if len(state["places"]) > fresh.capacity:
            raise ValueError(f"{len(state['places'])} places where {fresh.capacity} have room")
        for row, part in zip(state["rows"], state["places"], strict=True):
            place = Place.from_state(part)
            fresh._put(int(row), place, self.vocabulary.histogram(place.descriptors))
        fresh._likeness[state["rows"]] = state["likeness"]
        self.__dict__.update(fresh.__dict__)

    def _keep(self, place: Place, histogram: Floats32) -> None:
        likeness = self._histograms @ histogram
        likeness[self._indices < 0] = -1
        row = int((self._indices < 0).argmax())
        self._likeness = np.maximum(self._likeness, likeness)
        self._likeness[self._indices < 0] = -1
        self._put(row, place, histogram)
        self._likeness[row] = likeness.max()

    def _put(self, row: int, place: Place, histogram: Floats32) -> None:
        self._places[place.index] = place
        self._row[place.index] = row
        self._histograms[row] = histogram
        self._indices[row], self._submaps[row] = place.index, place.submap

    def _superfluous(self, place: Place, histogram: Floats32, same_view: SameView | None) -> int:
        """Which place goes so that a new one has room."""
        scores = self._histograms @ histogram
        for row in np.argsort(-scores)[:TWINS_TRIED]:
            other = self._places[int(self._indices[row])]
            if same_view is not None and same_view(other, place):
                return poorer(other, place).index
        one, twin = self._most_alike()
        return poorer(self._places[one], self._places[twin]).index

    def _most_alike(self) -> tuple[int, int]:
        """Two places; likenesses of places that have gone are corrected on the way."""
        while True:
            row = int(self._likeness.argmax())
            scores = self._histograms @ self._histograms[row]
            scores[row] = -1
            scores[self._indices < 0] = -1
            twin = int(scores.argmax())
            if scores[twin] >= self._likeness[row] - 1e-6:
                return int(self._indices[row]), int(self._indices[twin])
            self._likeness[row] = scores[twin]


def poorer(one: Place, other: Place) -> Place:
    """The place with fewer points; the younger of two alike."""

    def worth(place: Place) -> tuple[int, int, int]:
        return int(place.has_depth.sum()), len(place), -place.index

    return min(one, other, key=worth)
