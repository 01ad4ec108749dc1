# SPDX-License-Identifier: Apache-2.0
"""Depth of the keyframes, kept so that the fused map can follow their corrected poses."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.mapping.point_map import PointMap
from infinitevggt_core.mapping.view import View
from infinitevggt_core.model.geometry import world_points

MOST_PIXELS = 112 * 154
"""Pixels kept of a keyframe: 17 kB of depth, 34 kB with colours and confidence."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyframePose:
    """Corrected pose of a keyframe in the map."""

    camera_from_world: Tensor
    """[3, 4] float32, in the unit of the map."""
    scale: float
    """Units of the map per unit of the keyframe's depth."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cloud:
    depth: Tensor
    """[H, W] float16, in the unit of the tracking at the time of the keyframe."""
    colors: Tensor
    """[3, H, W] uint8."""
    confidence: Tensor
    """[H, W] float16."""
    intrinsics: Tensor
    """[3, 3] float32, px."""


class KeyframeClouds:
    """Bounded store of the keyframes' depth images."""

    def __init__(self, capacity: int) -> None:
        """capacity: largest number of keyframes; the oldest one is dropped for a new one."""
        self.capacity = capacity
        self._clouds: OrderedDict[int, _Cloud] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clouds)

    @property
    def indices(self) -> list[int]:
        """Numbers of the keyframes, oldest first."""
        return list(self._clouds)

    def depth_of(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return depth [H, W] (unit of the tracking), confidence [H, W] and intrinsics [3, 3] (px)
        of a keyframe, float32. Raises KeyError if it is not kept."""
        cloud = self._clouds[index]
        return cloud.depth.float(), cloud.confidence.float(), cloud.intrinsics

    def clear(self) -> None:
        """Drop every keyframe."""
        self._clouds.clear()

    def add(
        self, index: int, depth: Tensor, colors: Tensor, confidence: Tensor, intrinsics: Tensor
    ) -> None:
        """Keep the depth of a keyframe, at most MOST_PIXELS of it.

        depth: [H, W], unit of the tracking. colors: [3, H, W] in [0, 1]. confidence: [H, W].
        intrinsics: [3, 3], px.
        """
        step = math.ceil(math.sqrt(max(1.0, depth.numel() / MOST_PIXELS)))
        matrix = intrinsics.detach().cpu().float().clone()
        matrix[:2] /= step
        self._clouds[index] = _Cloud(
            depth[::step, ::step].cpu().half(),
            (F.relu(colors[:, ::step, ::step].cpu().float()) * 255).clamp(max=255).byte(),
            confidence[::step, ::step].cpu().half(),
            matrix,
        )
        while len(self._clouds) > self.capacity:
            self._clouds.popitem(last=False)

    def rebuild(self, point_map: PointMap, poses: Mapping[int, KeyframePose]) -> None:
        """Empty a fused map and fuse every keyframe that has a pose, the oldest first."""
        point_map.reset()
        for index, cloud in self._clouds.items():
            if index in poses:
                _fuse(cloud, point_map, poses[index])

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of plain numbers and tensors."""
        return {
            "indices": list(self._clouds),
            "clouds": [
                (cloud.depth, cloud.colors, cloud.confidence, cloud.intrinsics)
                for cloud in self._clouds.values()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a snapshot. Raises KeyError, TypeError or ValueError and changes nothing if
        it does not fit."""
        clouds = [_Cloud(*parts) for parts in state["clouds"]]
        self._clouds = OrderedDict(zip(state["indices"], clouds, strict=True))


def _fuse(cloud: _Cloud, point_map: PointMap, pose: KeyframePose) -> None:
    depth = cloud.depth.float() * pose.scale
    points = world_points(depth[None], pose.camera_from_world[None], cloud.intrinsics[None])[0]
    view = View(depth, pose.camera_from_world, cloud.intrinsics)
    point_map.insert(points, cloud.colors.float() / 255, cloud.confidence.float(), view)
