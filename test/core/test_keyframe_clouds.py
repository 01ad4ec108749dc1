# SPDX-License-Identifier: Apache-2.0
"""Depth of keyframes: bounded, and fused again where the keyframes are now."""

import torch

from infinitevggt_core import MapConfig, PointMap
from infinitevggt_core.mapping.keyframe_clouds import MOST_PIXELS, KeyframeClouds, KeyframePose

SIZE = (12, 16)
INTRINSICS = torch.tensor([[16.0, 0, 8], [0, 16, 6], [0, 0, 1]])


def clouds_of(keyframes: int, capacity: int = 10) -> KeyframeClouds:
    """Keyframes that look at a wall 2 units away."""
    clouds = KeyframeClouds(capacity)
    wall, confidence = torch.full(SIZE, 2.0), torch.full(SIZE, 2.0)
    for index in range(keyframes):
        clouds.add(index, wall, torch.full((3, *SIZE), 0.5), confidence, INTRINSICS)
    return clouds


def test_a_rebuilt_map_lies_where_the_corrected_keyframe_is() -> None:
    point_map = PointMap(MapConfig(voxel_size=0.01, keep_fraction=1.0, pixel_stride=1))
    camera_from_world = torch.eye(3, 4)
    camera_from_world[2, 3] = -5.0  # the camera stands 5 units ahead
    clouds_of(1).rebuild(point_map, {0: KeyframePose(camera_from_world, scale=1.5)})
    depths = point_map.cloud().positions[:, 2]
    assert len(depths) == SIZE[0] * SIZE[1]
    torch.testing.assert_close(depths, torch.full_like(depths, 5 + 1.5 * 2.0))


def test_keyframes_without_a_pose_stay_out_and_the_oldest_are_dropped() -> None:
    clouds = clouds_of(5, capacity=3)
    assert clouds.state_dict()["indices"] == [2, 3, 4]
    point_map = PointMap(MapConfig(keep_fraction=1.0))
    clouds.rebuild(point_map, {0: KeyframePose(torch.eye(3, 4), 1.0)})
    assert len(point_map) == 0


def test_a_snapshot_holds_the_same_keyframes() -> None:
    clouds, restored = clouds_of(2), KeyframeClouds(10)
    restored.load_state_dict(clouds.state_dict())
    pose = {1: KeyframePose(torch.eye(3, 4), 1.0)}
    maps = [PointMap(MapConfig(keep_fraction=1.0)) for _ in range(2)]
    for held, point_map in zip((clouds, restored), maps, strict=True):
        held.rebuild(point_map, pose)
    assert len(maps[0])
    assert torch.equal(maps[0].cloud().positions, maps[1].cloud().positions)


def test_large_images_are_kept_smaller_with_their_geometry() -> None:
    clouds = KeyframeClouds(1)
    size = (240, 320)
    matrix = torch.tensor([[320.0, 0, 160], [0, 320, 120], [0, 0, 1]])
    ones = torch.full(size, 2.0)
    clouds.add(0, ones, torch.zeros(3, *size), ones, matrix)
    [(depth, _, _, intrinsics)] = clouds.state_dict()["clouds"]
    assert depth.numel() <= MOST_PIXELS
    step = round(size[1] / depth.shape[1])
    torch.testing.assert_close(intrinsics[0, 2] * step, matrix[0, 2])
