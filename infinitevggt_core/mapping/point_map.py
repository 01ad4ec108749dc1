# SPDX-License-Identifier: Apache-2.0
"""Fused point cloud of a stream in a hash table of voxels, of bounded size."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import MapConfig
from infinitevggt_core.mapping.view import View

PROBES = 8
"""Number of slots probed per voxel. With half of the slots free, 0.4 % of new voxels find none and
are left to a later frame."""
EMPTY = -1
KEY_BITS = 21
KEPT_SHARE = 0.9
"""Share of `max_points` to which a full map is reduced, so that not every frame removes points."""
SWEEPS = 16
"""Number of frames in which every voxel is checked once for removal."""
MOST_MISSES = 127
PARTS = "keys", "weights", "confidences", "values", "seen", "misses"


@dataclass(frozen=True, slots=True)
class PointCloud:
    """Points in the stream's world, OpenCV axes, stream unit."""

    positions: Tensor
    """[N, 3] float32."""
    colors: Tensor
    """[N, 3] float32, RGB in [0, 1]."""
    confidences: Tensor
    """[N] float32, above 1: the highest of the voxel; 0 in an update if the voxel was removed."""
    voxels: Tensor
    """[N] int64 identifiers: an update of a voxel replaces its former point."""


class PointMap:
    """Averages the points of each voxel, weighted by confidence. Removes the voxels unseen for
    longest, and those that are seen through."""

    def __init__(self, config: MapConfig | None = None) -> None:
        self.config = config or MapConfig()
        self.reset()

    def reset(self) -> None:
        """Remove every point."""
        slots = 1 << (2 * self.config.max_points - 1).bit_length()
        self._keys = torch.full((slots,), EMPTY, dtype=torch.int64)
        self._weights = torch.zeros(slots)
        self._confidences = torch.zeros(slots)
        self._values = torch.zeros(slots, 6)  # x y z r g b
        self._seen = torch.zeros(slots, dtype=torch.int32)
        self._misses = torch.zeros(slots, dtype=torch.int8)
        self._changed = torch.zeros(slots, dtype=torch.bool)
        self._next_change = 0  # slot from which changes are returned
        self._count = 0
        self._time = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes held, which do not depend on the number of points."""
        return sum(part.nbytes for part in (*self._parts().values(), self._changed))

    def configure(self, config: MapConfig) -> None:
        """Change the settings; another voxel size or capacity starts an empty map."""
        size = (config.voxel_size, config.max_points)
        kept = size == (self.config.voxel_size, self.config.max_points)
        if kept:
            self.config = config
        else:  # constructed before anything changes: it may not fit into memory
            self.__dict__.update(vars(PointMap(config)))

    def cloud(self, most: int = 0) -> PointCloud:
        """Return a copy of all points, or a uniform sample of `most` points if there are more (0:
        any number)."""
        held = (self._keys != EMPTY).nonzero()[:, 0]
        if 0 < most < len(held):  # hashing has shuffled them
            held = held[torch.arange(most) * len(held) // most]
        return self._at(held)

    def insert(
        self, points: Tensor, colors: Tensor, confidences: Tensor, view: View | None = None
    ) -> int:
        """Fuse one frame and return the number of points used.

        points: [H, W, 3], world frame. colors: [3, H, W] in [0, 1]. confidences: [H, W]. view: the
        depth image; without it no point counts as sky, out of range or seen through. Points that
        are not finite, or not confident enough for the settings, are ignored.
        """
        step = self.config.pixel_stride
        positions = points[::step, ::step].reshape(-1, 3).cpu().float()
        rgb = colors[:, ::step, ::step].reshape(3, -1).T.cpu().float()
        weights = confidences[::step, ::step].reshape(-1).cpu().float()
        values = torch.cat((positions, rgb), dim=1)
        voxels = (positions / self.config.voxel_size).floor()
        usable = values.isfinite().all(-1) & weights.isfinite()
        usable &= (voxels.abs() < 1 << KEY_BITS - 1).all(-1)
        if view is not None:
            usable &= ~self._too_far(view, positions)
        self._time += 1
        if usable.any():
            least = _fraction_from(weights[usable], self.config.keep_fraction)
            usable &= weights >= least.clamp(min=self.config.min_confidence)
        if usable.any():
            self._fuse(_pack(voxels[usable].long()), values[usable], weights[usable])
        self._sweep(view)
        return int(usable.sum())

    def changes(self, most: int) -> PointCloud:
        """Return at most `most` voxels that changed since they were last returned; removed ones
        have confidence 0."""
        slots = self._changed.nonzero()[:, 0]
        passed = int((slots < self._next_change).sum())  # these wait for a later call
        slots = slots.roll(-passed)[:most]
        self._changed[slots] = False
        self._next_change = int(slots[-1]) + 1 if len(slots) else 0
        return self._at(slots)

    def mark_all_changed(self) -> None:
        """Mark every point as changed, for a new receiver of changes."""
        self._changed |= self._keys != EMPTY

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of plain numbers and tensors, without free slots."""
        held = (self._keys != EMPTY).nonzero()[:, 0]
        parts = {name: part[held] for name, part in self._parts().items()}
        size = (self.config.voxel_size, self.config.max_points)
        return {"size": size, "time": self._time, "slots": held, **parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a snapshot. Raises ValueError, and changes nothing, if it has another voxel size
        or capacity."""
        size = (self.config.voxel_size, self.config.max_points)
        if tuple(state["size"]) != size:
            raise ValueError(
                f"the map was saved with voxel_size, max_points {tuple(state['size'])}, this one "
                f"has {size}"
            )
        self.reset()
        for name, part in self._parts().items():
            part[state["slots"]] = state[name]
        self._count, self._time = len(state["slots"]), state["time"]
        self.mark_all_changed()

    def _parts(self) -> dict[str, Tensor]:
        return {name: getattr(self, f"_{name}") for name in PARTS}

    def _at(self, slots: Tensor) -> PointCloud:
        values = self._values[slots]
        return PointCloud(values[:, :3], values[:, 3:], self._confidences[slots], slots)

    def _too_far(self, view: View, positions: Tensor) -> Tensor:
        """Return [N], True for points of the strided image that are sky or out of range."""
        step = self.config.pixel_stride
        far = view.sky(self.config.sky_ratio)[::step, ::step].reshape(-1)
        if self.config.max_range > 0:
            far = far | (view.distances(positions) > self.config.max_range)
        return far

    def _fuse(self, keys: Tensor, values: Tensor, weights: Tensor) -> None:
        """Add points to their voxels: keys [N], values [N, 6], weights [N]."""
        unique, inverse = torch.unique(keys, return_inverse=True)
        total = torch.zeros(len(unique)).index_add_(0, inverse, weights)
        sums = torch.zeros(len(unique), 6).index_add_(0, inverse, values * weights[:, None])
        best = torch.zeros(len(unique)).scatter_reduce_(0, inverse, weights, "amax")
        slots = self._find(unique)
        new = slots == EMPTY
        slots[new] = self._claim(unique[new])
        placed = slots != EMPTY
        self._count += int((new & placed).sum())
        slots, total, sums, best = slots[placed], total[placed], sums[placed], best[placed]
        old = self._weights[slots]
        merged = (self._values[slots] * old[:, None] + sums) / (old + total)[:, None]
        self._weights[slots], self._values[slots] = old + total, merged
        self._confidences[slots] = best.maximum(self._confidences[slots])
        self._seen[slots] = self._time
        self._misses[slots] = 0
        self._changed[slots] = True
        if self._count > self.config.max_points:
            self._remove_oldest(self._count - max(1, int(KEPT_SHARE * self.config.max_points)))

    def _find(self, keys: Tensor) -> Tensor:
        """Return the slot of each key; EMPTY if it has none."""
        slots = torch.full_like(keys, EMPTY)
        open_ = torch.arange(len(keys))  # indices not found yet
        for probe in range(PROBES):
            at = self._probe(keys[open_], probe)
            found = self._keys[at] == keys[open_]
            slots[open_[found]] = at[found]
            open_ = open_[~found]
        return slots

    def _claim(self, keys: Tensor) -> Tensor:
        """Return a free slot for each of the distinct new keys; EMPTY if none is left to it."""
        slots = torch.full_like(keys, EMPTY)
        open_ = torch.arange(len(keys))  # indices without a slot yet
        for probe in range(PROBES):
            at, wanted = self._probe(keys[open_], probe), keys[open_]
            free = self._keys[at] == EMPTY
            self._keys[at[free]] = wanted[free]  # if several want one slot, one is written
            got = free & (self._keys[at] == wanted)
            slots[open_[got]] = at[got]
            open_ = open_[~got]
        return slots

    def _probe(self, keys: Tensor, probe: int) -> Tensor:
        """Return the slots of keys at a step of double hashing."""
        mixed = (keys ^ keys >> 31) * 0x7FB5D329728EA185
        mixed = (mixed ^ mixed >> 27) * 0x1B873593
        return ((mixed >> 20) + probe * (mixed >> 41 | 1)) & len(self._keys) - 1

    def _sweep(self, view: View | None) -> None:
        """Remove voxels of the next part of the table that are too old, too far or seen through."""
        config = self.config
        stride = len(self._keys) // min(SWEEPS, len(self._keys))
        first = self._time * stride % len(self._keys)
        held = first + (self._keys[first : first + stride] != EMPTY).nonzero()[:, 0]
        gone = torch.zeros(len(held), dtype=torch.bool)
        if config.max_age > 0:
            gone |= self._time - self._seen[held] > config.max_age
        if view is not None and config.radius > 0:
            gone |= view.distances(self._values[held, :3]) > config.radius
        if view is not None and config.thin_after > 0:
            through = view.sees_through(self._values[held, :3], config.thin_margin)
            missed = held[through & (self._seen[held] != self._time)]
            self._misses[missed] = (self._misses[missed] + 1).clamp(max=MOST_MISSES - 1)
            gone |= self._misses[held] >= config.thin_after
        self._release(held[gone])

    def _remove_oldest(self, count: int) -> None:
        held = (self._keys != EMPTY).nonzero()[:, 0]
        seen = self._seen[held] - self._seen[held].min()
        ages = torch.bincount(seen).cumsum(0)
        last = int((ages < count).sum())  # remove some of this frame, and all before it
        older = held[seen < last]
        self._release(torch.cat((older, held[seen == last][: count - len(older)])))

    def _release(self, slots: Tensor) -> None:
        self._keys[slots] = EMPTY
        self._weights[slots] = 0
        self._confidences[slots] = 0
        self._misses[slots] = 0
        self._changed[slots] = True
        self._count -= len(slots)


def _fraction_from(values: Tensor, fraction: float) -> Tensor:
    """Return the least of the largest `fraction` of values [N]."""
    below = math.ceil((1 - fraction) * (len(values) - 1))
    return values.kthvalue(below + 1).values


def _pack(voxels: Tensor) -> Tensor:
    """Pack voxel indices [N, 3] into keys [N], not negative."""
    shifted = voxels + (1 << KEY_BITS - 1)
    return shifted[:, 0] << 2 * KEY_BITS | shifted[:, 1] << KEY_BITS | shifted[:, 2]
