"""The fused point cloud of a stream, bounded: a hash table of voxels of fixed size."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import MapConfig

PROBES = 8
"""Slots a voxel may stand in. With half of all slots free, 0.4 % of new voxels find none and wait
for the next frame."""
EMPTY = -1
KEY_BITS = 21
KEPT_SHARE = 0.9
"""A full map forgets down to this share of its most, so that it does not forget every frame."""


@dataclass(frozen=True, slots=True)
class PointCloud:
    """Points in the stream's world, OpenCV axes, stream unit."""

    positions: Tensor
    """[N, 3] float32."""
    colors: Tensor
    """[N, 3] float32, RGB in [0, 1]."""
    confidences: Tensor
    """[N] float32, above 1: the highest seen in the voxel."""


class PointMap:
    """Averages the points of a voxel, weighted by confidence; forgets the voxels longest unseen."""

    def __init__(self, config: MapConfig | None = None) -> None:
        self.config = config or MapConfig()
        self.reset()

    def reset(self) -> None:
        """Forget every point."""
        slots = 1 << (2 * self.config.max_points - 1).bit_length()
        self._keys = torch.full((slots,), EMPTY, dtype=torch.int64)
        self._weights = torch.zeros(slots)
        self._confidences = torch.zeros(slots)
        self._values = torch.zeros(slots, 6)  # x y z r g b
        self._seen = torch.zeros(slots, dtype=torch.int32)
        self._count = 0
        self._time = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes held; the same from the first point on."""
        return sum(part.nbytes for part in self._parts().values())

    def configure(self, config: MapConfig) -> None:
        """Take over new settings; another voxel size or capacity starts an empty map."""
        size = (config.voxel_size, config.max_points)
        kept = size == (self.config.voxel_size, self.config.max_points)
        if kept:
            self.config = config
        else:  # made whole before anything changes: it may not fit into memory
            self.__dict__.update(vars(PointMap(config)))

    def cloud(self) -> PointCloud:
        """All points, a copy."""
        held = self._keys != EMPTY
        values = self._values[held]
        return PointCloud(values[:, :3], values[:, 3:], self._confidences[held])

    def state_dict(self) -> dict[str, Any]:
        """A snapshot: the voxels held and the slots they stand in."""
        held = (self._keys != EMPTY).nonzero()[:, 0]
        parts = {name: part[held].clone() for name, part in self._parts().items()}
        return {"slots": len(self._keys), "held": held, "time": self._time, **parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot of a map of the same settings. Raises ValueError for another."""
        self.reset()
        if state["slots"] != len(self._keys):
            raise ValueError(
                f"the snapshot is of a map of {state['slots']} slots, this has {len(self._keys)}: "
                "max_points is another"
            )
        for name, part in self._parts().items():
            part[state["held"]] = state[name]
        self._count, self._time = len(state["held"]), state["time"]

    def _parts(self) -> dict[str, Tensor]:
        """What is known of each slot."""
        return {
            "keys": self._keys,
            "weights": self._weights,
            "confidences": self._confidences,
            "values": self._values,
            "seen": self._seen,
        }

    def insert(self, points: Tensor, colors: Tensor, confidences: Tensor) -> int:
        """Fuse one frame; returns how many points were used.

        points: [H, W, 3] world. colors: [3, H, W] in [0, 1]. confidences: [H, W]. Points that are
        not finite, or not confident enough for the settings, stay out.
        """
        step = self.config.pixel_stride
        positions = points[::step, ::step].reshape(-1, 3).cpu().float()
        rgb = colors[:, ::step, ::step].reshape(3, -1).T.cpu().float()
        weights = confidences[::step, ::step].reshape(-1).cpu().float()
        values = torch.cat((positions, rgb), dim=1)
        voxels = (positions / self.config.voxel_size).floor()
        usable = values.isfinite().all(-1) & weights.isfinite()
        usable &= (voxels.abs() < 1 << KEY_BITS - 1).all(-1)
        self._time += 1
        if usable.any():
            least = torch.quantile(weights[usable], 1 - self.config.keep_fraction)
            usable &= weights >= least.clamp(min=self.config.min_confidence)
        if usable.any():
            self._fuse(_pack(voxels[usable].long()), values[usable], weights[usable])
        return int(usable.sum())

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
        if self._count > self.config.max_points:
            self._forget(self._count - max(1, int(KEPT_SHARE * self.config.max_points)))

    def _find(self, keys: Tensor) -> Tensor:
        """The slot of each key, EMPTY where it has none."""
        slots = torch.full_like(keys, EMPTY)
        for probe in range(PROBES):
            at = self._probe(keys, probe)
            slots = torch.where(self._keys[at] == keys, at, slots)
        return slots

    def _claim(self, keys: Tensor) -> Tensor:
        """A free slot for each of the distinct new keys, EMPTY where all its probes are taken."""
        slots = torch.full_like(keys, EMPTY)
        for probe in range(PROBES):
            at = self._probe(keys, probe)
            wants = (slots == EMPTY) & (self._keys[at] == EMPTY)
            self._keys[at[wants]] = keys[wants]  # of several that want one slot, one is written
            slots = torch.where(wants & (self._keys[at] == keys), at, slots)
        return slots

    def _probe(self, keys: Tensor, probe: int) -> Tensor:
        """Double hashing: every key has a path of its own through the table."""
        mixed = (keys ^ keys >> 31) * 0x7FB5D329728EA185
        mixed = (mixed ^ mixed >> 27) * 0x1B873593
        return ((mixed >> 20) + probe * (mixed >> 41 | 1)) & len(self._keys) - 1

    def _forget(self, count: int) -> None:
        held = (self._keys != EMPTY).nonzero()[:, 0]
        gone = held[self._seen[held].argsort()[:count]]
        self._keys[gone] = EMPTY
        self._weights[gone] = 0
        self._confidences[gone] = 0
        self._count -= count


def _pack(voxels: Tensor) -> Tensor:
    """Voxel indices [N, 3] -> one key [N], not negative."""
    shifted = voxels + (1 << KEY_BITS - 1)
    return shifted[:, 0] << 2 * KEY_BITS | shifted[:, 1] << KEY_BITS | shifted[:, 2]
