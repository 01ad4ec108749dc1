# SPDX-License-Identifier: Apache-2.0
"""The fused cloud averages, removes the points unseen for longest, and stays within its bound."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from infinitevggt_core import PointCloud, PointMap
from infinitevggt_core.mapping.view import View
from support.core_samples import EXACT, assert_close
from support.map_samples import ALL, FRONT, INF, NAN, K, insert, row


def sorted_by_x(cloud: PointCloud) -> PointCloud:
    order = cloud.positions[:, 0].argsort()
    parts = (cloud.positions, cloud.colors, cloud.confidences, cloud.voxels)
    return PointCloud(*(part[order] for part in parts))


def test_a_new_map_is_empty() -> None:
    cloud = PointMap().cloud()
    assert (len(PointMap()), cloud.positions.shape, cloud.colors.shape) == (0, (0, 3), (0, 3))
    assert cloud.confidences.shape == (0,)


def test_points_of_a_voxel_are_averaged_by_confidence() -> None:
    point_map = PointMap(ALL)
    used = insert(
        point_map,
        [[0.02, 0.02, 0.02], [0.06, 0.02, 0.04], [0.55, 0.5, 0.5]],
        confidences=[3.0, 1.0, 5.0],
        colors=[[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    )
    cloud = sorted_by_x(point_map.cloud())
    assert (used, len(point_map)) == (3, 2)
    assert_close(cloud.positions, torch.tensor([[0.03, 0.02, 0.025], [0.55, 0.5, 0.5]]), EXACT)
    assert_close(cloud.colors, torch.tensor([[0.75, 0.25, 0], [0, 0, 1]]), EXACT)
    assert cloud.confidences.tolist() == [3.0, 5.0]


def test_frames_are_averaged_as_if_they_were_one() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(8, 9, 3, generator=generator)
    colors, weights = torch.rand(3, 8, 9, generator=generator), 1 + torch.rand(8, 9)
    at_once, in_two = PointMap(ALL), PointMap(ALL)
    at_once.insert(points, colors, weights)
    for half in (slice(0, 5), slice(5, 8)):
        in_two.insert(points[half], colors[:, half], weights[half])
    one, other = sorted_by_x(at_once.cloud()), sorted_by_x(in_two.cloud())
    assert_close(other.positions, one.positions, EXACT, "positions")
    assert_close(other.colors, one.colors, EXACT, "colors")
    assert torch.equal(other.confidences, one.confidences)


def test_the_map_is_that_of_a_plain_dictionary() -> None:
    config = replace(ALL, max_points=5000)
    generator = torch.Generator().manual_seed(1)
    point_map = PointMap(config)
    plain: dict[tuple[int, ...], tuple[Tensor, float]] = {}
    for _ in range(5):
        points = 2 * torch.randn(20, 20, 3, generator=generator)
        weights = 1 + torch.rand(20, 20, generator=generator)
        point_map.insert(points, torch.zeros(3, 20, 20), weights)
        for point, weight in zip(points.view(-1, 3), weights.flatten().tolist(), strict=True):
            voxel = tuple((point / config.voxel_size).floor().int().tolist())
            total, mass = plain.get(voxel, (torch.zeros(3), 0.0))
            plain[voxel] = (total + weight * point, mass + weight)
    assert len(point_map) == len(plain)
    want = torch.stack([total / mass for total, mass in plain.values()])
    got = point_map.cloud().positions
    assert_close(got[got[:, 0].argsort()], want[want[:, 0].argsort()], EXACT)


def test_the_same_points_twice_do_not_add() -> None:
    point_map = PointMap(ALL)
    for _ in range(3):
        insert(point_map, row(20))
    assert len(point_map) == 20
    assert_close(sorted_by_x(point_map.cloud()).positions, torch.tensor(row(20)), EXACT)


def test_the_least_confident_share_of_a_frame_stays_out() -> None:
    point_map = PointMap(replace(ALL, keep_fraction=0.3))
    assert insert(point_map, row(10), confidences=[1.0 + i for i in range(10)]) == 3
    assert sorted(point_map.cloud().confidences.tolist()) == [8.0, 9.0, 10.0]


def test_points_below_the_confidence_stay_out() -> None:
    point_map = PointMap(replace(ALL, min_confidence=3.0))
    assert insert(point_map, row(4), confidences=[1.5, 2.9, 3.0, 9.0]) == 2
    assert insert(point_map, row(4), confidences=[1.0, 1.0, 1.0, 1.0]) == 0


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_points_that_are_not_finite_stay_out(bad: float) -> None:
    point_map = PointMap(ALL)
    assert insert(point_map, [[0.05, bad, 0.05], *row(2)]) == 2
    assert len(point_map) == 2
    assert point_map.cloud().positions.isfinite().all()


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("keep", [0.5, 1.0])
def test_a_confidence_that_is_not_finite_keeps_only_its_point_out(bad: float, keep: float) -> None:
    point_map = PointMap(replace(ALL, keep_fraction=keep))
    used = insert(point_map, row(5), confidences=[bad, 2.0, 3.0, 4.0, 5.0])
    assert used == round(4 * keep)
    assert point_map.cloud().confidences.isfinite().all()


def test_a_colour_that_is_not_finite_does_not_spoil_its_voxel() -> None:
    point_map = PointMap(ALL)
    insert(point_map, row(1), colors=[[NAN, 0, 0]])
    insert(point_map, row(1), colors=[[0.5, 0.25, 1]])
    assert_close(point_map.cloud().colors, torch.tensor([[0.5, 0.25, 1]]), EXACT)


def test_a_frame_without_one_usable_point_is_taken() -> None:
    point_map = PointMap(ALL)
    insert(point_map, row(3))
    assert insert(point_map, [[NAN] * 3] * 3) == 0
    assert insert(point_map, row(3), confidences=[NAN] * 3) == 0
    assert len(point_map) == 3


def test_points_out_of_range_stay_out_and_do_not_wrap_around() -> None:
    point_map = PointMap(ALL)
    far = 0.1 * 2**20
    assert insert(point_map, [[far + 1, 0, 0], [0, -far - 1, 0], [0, 0, 1e30], [0.05] * 3]) == 1
    assert_close(point_map.cloud().positions, torch.full((1, 3), 0.05), EXACT)


def test_points_on_all_sides_of_the_origin_are_told_apart() -> None:
    point_map = PointMap(ALL)
    signs = [[x, y, z] for x in (-0.01, 0.01) for y in (-0.01, 0.01) for z in (-0.01, 0.01)]
    insert(point_map, signs)
    assert len(point_map) == 8


def test_every_nth_pixel_is_used() -> None:
    point_map = PointMap(replace(ALL, pixel_stride=3))
    points = torch.rand(7, 10, 3)
    assert point_map.insert(points, torch.zeros(3, 7, 10), torch.full((7, 10), 2.0)) == 3 * 4


def test_the_map_is_bounded_whatever_comes() -> None:
    point_map = PointMap(replace(ALL, max_points=500))
    held = point_map.nbytes
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        points = 30 * torch.rand(20, 20, 3, generator=generator)
        point_map.insert(points, torch.zeros(3, 20, 20), torch.full((20, 20), 2.0))
        assert len(point_map) <= 500
        assert len(point_map.cloud().positions) == len(point_map)
        assert point_map.nbytes == held
    assert len(point_map) > 300


@pytest.mark.parametrize("most", [1, 2, 7])
def test_small_maps_are_bounded_too(most: int) -> None:
    point_map = PointMap(replace(ALL, max_points=most))
    for _ in range(3):
        insert(point_map, row(50))
        assert 1 <= len(point_map) <= most


def test_the_longest_unseen_are_removed_first() -> None:
    point_map = PointMap(replace(ALL, max_points=100))
    insert(point_map, row(40, y=0.05))
    insert(point_map, row(40, y=1.05))
    insert(point_map, row(40, y=0.05))  # seen again: the other row is the older one now
    insert(point_map, row(40, y=2.05))  # 120 points: down to 90
    y = point_map.cloud().positions[:, 1]
    counts = [((y - at).abs() < 0.01).sum().item() for at in (0.05, 1.05, 2.05)]
    assert counts == [40, 10, 40]


def test_a_removed_voxel_starts_anew() -> None:
    point_map = PointMap(replace(ALL, max_points=10))
    insert(point_map, [[0.01, 0.05, 0.05]], confidences=[9.0], colors=[[1, 1, 1]])
    insert(point_map, row(10, y=3.05))
    assert len(point_map) == 9
    insert(point_map, [[0.09, 0.05, 0.05]], confidences=[2.0], colors=[[0, 0, 0]])
    cloud = sorted_by_x(point_map.cloud())
    again = (cloud.positions[:, 1] < 1).nonzero()[0, 0]
    assert_close(cloud.positions[again], torch.tensor([0.09, 0.05, 0.05]), EXACT)
    assert cloud.confidences[again] == 2
    assert (cloud.colors[again] == 0).all()


def test_a_cloud_is_a_copy() -> None:
    point_map = PointMap(ALL)
    insert(point_map, row(3))
    point_map.cloud().positions.zero_()
    assert_close(sorted_by_x(point_map.cloud()).positions, torch.tensor(row(3)), EXACT)


def test_reset_removes_every_point() -> None:
    point_map = PointMap(ALL)
    insert(point_map, row(3))
    point_map.reset()
    assert len(point_map) == len(point_map.cloud().positions) == 0


def test_filters_change_without_losing_the_map_but_the_voxels_do_not() -> None:
    point_map = PointMap(ALL)
    insert(point_map, row(5))
    stricter = replace(ALL, min_confidence=3.0, keep_fraction=0.5, pixel_stride=2)
    point_map.configure(stricter)
    assert len(point_map) == 5
    assert insert(point_map, row(8, y=1.05)) == 0, "the new settings do not hold"
    point_map.configure(replace(stricter, voxel_size=0.2))
    assert len(point_map) == 0
    insert(point_map, row(4), confidences=[5.0] * 4)
    point_map.configure(replace(stricter, max_points=10))
    assert len(point_map) == 0


def test_images_of_a_network_in_bf16_are_taken() -> None:
    point_map = PointMap(ALL)
    points = torch.rand(4, 4, 3).bfloat16()
    assert point_map.insert(points, torch.rand(3, 4, 4).bfloat16(), torch.ones(4, 4) * 2) == 16


def test_changes_followed_one_by_one_are_the_map() -> None:
    """Against a consumer that knows nothing but what it is sent."""
    point_map = PointMap(replace(ALL, max_points=300, thin_after=1))
    generator = torch.Generator().manual_seed(3)
    known: dict[int, tuple[float, ...]] = {}
    for frame in range(60):
        points = 2 * torch.rand(8, 9, 3, generator=generator) + torch.tensor([0, 0, 1.0])
        view = View(torch.full((8, 9), 2.0), FRONT, K)
        point_map.insert(points, torch.zeros(3, 8, 9), 1 + torch.rand(8, 9), view)
        update = point_map.changes(most=50 if frame < 59 else 10_000)
        assert len(update.voxels) <= 50 or frame == 59
        for voxel, position, confidence in zip(
            update.voxels.tolist(), update.positions, update.confidences.tolist(), strict=True
        ):
            known.pop(voxel, None)
            if confidence > 0:
                known[voxel] = tuple(position.tolist())
    assert sorted(known.values()) == sorted(map(tuple, point_map.cloud().positions.tolist()))
    assert len(point_map.changes(10_000).voxels) == 0
    point_map.mark_all_changed()
    assert len(point_map.changes(10_000).voxels) == len(point_map)


def test_an_even_choice_of_points_is_bounded() -> None:
    point_map = PointMap(ALL)
    insert(point_map, row(900))
    chosen = point_map.cloud(most=90).positions
    assert len({tuple(point) for point in chosen.tolist()}) == 90
    assert 30 < chosen[:, 0].mean() < 60, "from everywhere: the mean of all is 45"
    assert len(point_map.cloud(most=1000).positions) == 900


def test_a_map_goes_on_from_its_snapshot(tmp_path: Path) -> None:
    one, other = PointMap(ALL), PointMap(ALL)
    insert(one, row(40))
    torch.save(one.state_dict(), tmp_path / "map.pt")
    other.load_state_dict(torch.load(tmp_path / "map.pt", weights_only=True))
    for point_map in (one, other):
        insert(point_map, row(60), confidences=[4.0] * 60)
    assert len(other) == 60
    assert_close(sorted_by_x(other.cloud()).positions, sorted_by_x(one.cloud()).positions, EXACT)
    with pytest.raises(ValueError, match="voxel_size"):
        PointMap(replace(ALL, voxel_size=0.2)).load_state_dict(one.state_dict())


def test_points_that_change_all_the_time_do_not_starve_the_others() -> None:
    point_map = PointMap(ALL)
    heard: set[int] = set()
    for _ in range(5):
        insert(point_map, row(10))
        heard |= set(point_map.changes(most=2).voxels.tolist())
    assert len(heard) == 10
