# SPDX-License-Identifier: Apache-2.0
"""Trajectories of cameras in synthetic worlds, and the visible surface."""

import tracemalloc

import pytest
import torch
from torch import Tensor

from infinitevggt_core.model import geometry
from infinitevggt_core.worlds import LEVELS, MOTIONS, World, WorldConfig

CLEARANCE_M = 0.25
# degrees and metres per frame
FASTEST = {
    "easy": (3.5, 0.045),
    "standard": (8.0, 0.1),
    "hard": (16.0, 0.18),
    "real": (8.0, 0.1),
    "street": (14.0, 0.35),
}


def clearance(world: World, points: Tensor) -> Tensor:
    """Return the distance (N,) of points from every solid's bounding box."""
    rows = torch.cat((world.scene.boxes, world.scene.rounds))
    away = points[:, None] - rows[:, :3]
    cos, sin = rows[:, 6], rows[:, 7]
    local = torch.stack(
        (
            away[..., 0] * cos + away[..., 1] * sin,
            away[..., 1] * cos - away[..., 0] * sin,
            away[..., 2],
        ),
        dim=-1,
    )
    return (local.abs() - rows[:, 3:6]).clamp(min=0).norm(dim=-1).amin(1)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("motion", MOTIONS[1:])
def test_cameras_keep_away_from_everything_and_move_smoothly(level: str, motion: str) -> None:
    for seed in (10_000, 10_001, 10_002):
        world = World(seed, config=WorldConfig.of(level, motion=motion))
        poses = world.trajectory.world_from_body(torch.arange(0, 1500))
        assert clearance(world, poses[..., 3]).min() > CLEARANCE_M
        step = poses[1:, :, 3] - poses[:-1, :, 3]
        turn = (poses[:-1, :, :3].transpose(1, 2) @ poses[1:, :, :3]).diagonal(dim1=1, dim2=2)
        angle = ((turn.sum(-1) - 1) / 2).clamp(-1, 1).acos().rad2deg()
        assert angle.max() < FASTEST[level][0]
        assert step.norm(dim=1).max() < FASTEST[level][1]
        # no jumps of the speed either
        assert (step[1:] - step[:-1]).norm(dim=1).max() < FASTEST[level][1] / 2


def test_poses_are_rigid_upright_and_in_opencv_axes() -> None:
    world = World(6)
    poses = world.trajectory.camera_from_world(torch.arange(0, 500, 7))
    rotation = poses[..., :3]
    identity = torch.eye(3, dtype=torch.float64).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), identity)
    torch.testing.assert_close(rotation.det(), torch.ones(len(poses), dtype=torch.float64))
    # the image's y axis points to the floor, and a camera looks ahead rather than down
    assert (rotation[:, 1, 2] < -0.7).all()
    assert (rotation[:, 2, 2].abs() < 0.7).all()


def test_cameras_begin_inside_a_room() -> None:
    for seed in range(10):
        world = World(seed)
        x, y, z = world.trajectory.world_from_body(torch.zeros(1))[0, :, 3].tolist()
        assert any(
            r.x0 < x < r.x1 and r.y0 < y < r.y1 and 0.2 < z < r.height for r in world.plan.rooms
        )


def test_a_loop_returns_to_where_it_began() -> None:
    world = World(2, config=WorldConfig.of("standard", motion="loop"))
    places = world.trajectory.world_from_body(torch.arange(0, 6000))[..., 3]
    away = (places[:, :2] - places[0, :2]).norm(dim=1)
    assert away.max() > 1.5
    later = away[int(away.argmax()) :]
    assert later.min() < 0.3


def test_a_long_walk_goes_through_every_room_and_comes_back() -> None:
    world = World(10_003, config=WorldConfig.of("standard", motion="handheld"))
    places = world.trajectory.world_from_body(torch.arange(0, 20_000, 5))[..., :2, 3]
    for room in world.plan.rooms:
        low, high = torch.tensor([room.x0, room.y0]), torch.tensor([room.x1, room.y1])
        within = ((places > low) & (places < high)).all(1)
        assert within.any()
        entered = (within[1:] & ~within[:-1]).sum()
        assert entered >= 2


def test_twenty_thousand_frames_need_little_memory_and_no_order() -> None:
    world = World(10_004, "hard")
    tracemalloc.start()
    late = world.render([19_999], 16, 24)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 8e6
    fresh = World(10_004, "hard")
    for index in (0, 5_000, 19_999):
        again = fresh.render([index], 16, 24)
    torch.testing.assert_close(again.camera_from_world, late.camera_from_world, atol=0, rtol=0)
    torch.testing.assert_close(again.depth, late.depth)


def test_cameras_differ_between_seeds_and_zoom_only_where_the_level_says_so() -> None:
    focal = {
        (seed, level): World(seed, level).render([0, 30], 16, 24).intrinsics[:, 0, 0]
        for seed in (0, 1, 2)
        for level in ("standard", "hard")
    }
    assert len({round(float(values[0]), 3) for values in focal.values()}) >= 5
    for (_, level), values in focal.items():
        assert bool(values[0] == values[1]) == (level == "standard")


@pytest.mark.parametrize("level", ["easy", "standard"])
def test_surface_points_lie_on_what_is_rendered_and_face_the_camera(level: str) -> None:
    world = World(10_005, level)
    points, normals = world.surface(4000)
    assert points.shape == normals.shape == (4000, 3)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(4000, dtype=torch.float64))
    step = 100 if level == "easy" else 40  # as far a walk
    clips = world.render(range(0, 15 * step, step), 112, 154)
    on_surface = torch.zeros(4000, dtype=torch.bool)
    for k in range(len(clips.depth)):
        pose, matrix = clips.camera_from_world[k], clips.intrinsics[k]
        camera = points @ pose[:, :3].T + pose[:, 3]
        pixel = (camera @ matrix.T)[:, :2] / camera[:, 2:]
        u, v = pixel.round().long().unbind(1)
        framed = (camera[:, 2] > 0.1) & (u >= 0) & (v >= 0) & (u < 154) & (v < 112)
        depth = clips.depth[k].double()[v.clamp(0, 111), u.clamp(0, 153)]
        near = framed & ((camera[:, 2] - depth).abs() < 0.03 * depth)
        on_surface |= near
        eye = -pose[:, :3].T @ pose[:, 3]
        exact = framed & ((camera[:, 2] - depth).abs() < 0.01)
        facing = ((eye - points) * normals).sum(1) > -0.02
        assert (exact & ~facing).sum() <= 2 + 0.03 * exact.sum()
    assert on_surface.float().mean() > (0.4 if level == "easy" else 0.05)


def test_every_rendered_point_is_near_a_surface_point() -> None:
    world = World(10_006, "easy")
    points, _ = world.surface(20_000)
    clips = world.render(range(0, 300, 50), 28, 42)
    seen = geometry.world_points(
        clips.depth.double(), clips.camera_from_world, clips.intrinsics
    ).reshape(-1, 3)
    gap = torch.cdist(seen, points).amin(1)
    assert gap.median() < 0.06
    assert (gap < 0.2).float().mean() > 0.97


def test_surface_points_are_the_same_each_time() -> None:
    first, second = (World(3, "easy").surface(500)[0] for _ in range(2))
    assert torch.equal(first, second)
