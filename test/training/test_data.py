# SPDX-License-Identifier: Apache-2.0
"""Order of training clips and handling of bad ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from infinitevggt_core.model import geometry
from infinitevggt_core.training import BadClipError, Clip, ClipShape
from infinitevggt_core.training.clip import faults, fit_depth, fit_image, fit_to
from infinitevggt_core.training.config import ClipConfig
from infinitevggt_core.training.feed import ClipFeed, Mixture, NoClipsError
from infinitevggt_core.training.rendered_sequence import mirrored
from infinitevggt_core.training.schedule import full_shape, shape_at
from infinitevggt_core.training.world_source import (
    POOL,
    SEQUENCE_FRAMES,
    USES,
    ValidationWorlds,
    WorldSource,
    check_training_seeds,
    check_validation_seeds,
    draw_training_seeds,
    draw_validation_seeds,
)
from infinitevggt_core.worlds import World, WorldClips
from infinitevggt_core.worlds.renderer import render
from support.room_clips import RoomSource, room_clip

CPU = torch.device("cpu")
SHAPE = ClipShape(batch=3, frames=2, stride=1, height=28, width=42)


class DamagedSource:
    """Source with a fault in every second clip, and an unreadable batch in every third."""

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        if rng.random() < 0.3:
            raise BadClipError("cannot be read")
        clip = RoomSource().sample(shape, number, rng)
        assert clip.depth is not None
        assert clip.camera_from_world is not None
        bad = torch.from_numpy(rng.random(shape.batch) < 0.5)
        broken = clip.camera_from_world.clone()
        broken[bad] = torch.nan
        if rng.random() < 0.5:
            return replace(clip, camera_from_world=broken)
        return replace(clip, depth=torch.where(bad.view(-1, 1, 1, 1), 0.0, clip.depth))


def test_bad_clips_are_skipped_and_counted() -> None:
    feed = ClipFeed(DamagedSource(), 0, CPU)
    for number in range(10):
        clip = feed.batch(number, SHAPE)
        assert clip.images.shape == (3, 2, 3, 28, 42)
        assert faults(clip) == ["", "", ""]
    assert set(feed.skipped) == {"cannot be read", "pose not finite", "no depth"}
    assert all(count > 0 for count in feed.skipped.values())


def test_clips_of_one_frame_are_refused() -> None:
    assert faults(room_clip(batch=2, frames=1)) == ["one frame", "one frame"]


def test_images_that_are_not_finite_are_refused() -> None:
    clip = room_clip(batch=2)
    clip.images[1, 0, 0, 0, 0] = torch.nan
    assert faults(clip) == ["", "image not finite"]


def test_data_without_anything_usable_ends_the_run_with_the_reasons() -> None:
    class Nothing:
        def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
            raise BadClipError("corrupt bag")

    with pytest.raises(NoClipsError, match="corrupt bag: 200"):
        ClipFeed(Nothing(), 0, CPU).batch(0, SHAPE)


def test_a_batch_depends_on_its_number_and_the_seed_alone() -> None:
    first, again, other = (ClipFeed(DamagedSource(), seed, CPU) for seed in (0, 0, 1))
    for number in range(3):
        first.batch(number, SHAPE)
    assert torch.equal(first.batch(5, SHAPE).images, again.batch(5, SHAPE).images)
    assert not torch.equal(again.batch(6, SHAPE).images, other.batch(6, SHAPE).images)


def test_clips_grow_from_short_and_slow_to_long_and_fast() -> None:
    config = ClipConfig(
        batch_frames=16, frames_last=8, stride_last=6, width_first=56, width_last=154,
        growth_steps=100,
    )  # fmt: skip
    first = [shape_at(step, config, 14, 0) for step in range(3)]
    last = [shape_at(step, config, 14, 0) for step in range(100, 300)]
    assert {(s.frames, s.stride, s.width) for s in first} == {(2, 1, 56)}
    assert {s.frames for s in last} == set(range(2, 9))
    assert {s.stride for s in last} == set(range(1, 7))
    assert {s.width for s in last} == {154}
    assert all(s.batch * s.frames <= 16 for s in last)
    assert all(s.height % 14 == 0 for s in [*first, *last, full_shape(config, 14)])


def test_mixtures_draw_from_all_sources() -> None:
    mixture = Mixture([RoomSource(labels=True), RoomSource(labels=False)])
    clips = [mixture.sample(SHAPE, 0, np.random.default_rng(i)) for i in range(12)]
    assert {clip.depth is None for clip in clips} == {True, False}


@pytest.mark.parametrize("seed", [10_000, 10_999, 11_000, 99_999, -1])
def test_training_refuses_worlds_that_are_not_for_it(seed: int) -> None:
    with pytest.raises(ValueError, match=f"world {seed}"):
        check_training_seeds([0, 9_999, 100_000, seed])


@pytest.mark.parametrize("seed", [9_999, 11_000, 100_000])
def test_validation_refuses_worlds_that_are_not_for_it(seed: int) -> None:
    with pytest.raises(ValueError, match=f"world {seed}"):
        check_validation_seeds([10_000, 10_999, seed])


def test_validation_seeds_are_never_drawn_for_training() -> None:
    rng = np.random.default_rng(0)
    drawn = draw_training_seeds(rng, 100_000)
    check_training_seeds(drawn)
    assert min(drawn) < 10**6 < max(drawn)
    check_validation_seeds(draw_validation_seeds(rng, 1000))


def test_worlds_give_labelled_clips_that_repeat() -> None:
    shape = ClipShape(batch=2, frames=2, stride=2, height=28, width=42)
    for source in (WorldSource("easy"), ValidationWorlds("easy")):
        clip, again = (source.sample(shape, 4, np.random.default_rng(9)) for _ in range(2))
        assert faults(clip) == ["", ""]
        assert clip.images.shape == (2, 2, 3, 28, 42)
        for name, tensor in clip.tensors().items():
            assert torch.equal(tensor, again.tensors()[name])


def test_a_mirrored_clip_shows_the_mirrored_room() -> None:
    clip = room_clip(batch=1, frames=2)
    other = mirrored(clip)
    assert clip.depth is not None
    assert other.depth is not None
    assert not other.depth[..., 0].any()
    points, seen_mirrored = (
        geometry.world_points(c.depth, c.camera_from_world, c.intrinsics) for c in (clip, other)
    )
    want = points.flip(-2) * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(seen_mirrored[..., 1:, :], want[..., :-1, :], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other.images[..., 1:], clip.images.flip(-1)[..., :-1])


def test_sequences_are_rendered_once_and_cut_within_their_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered: list[int] = []

    def counted(worlds: Sequence[World], *arguments: Any) -> WorldClips:
        rendered.extend(world.seed for world in worlds)
        return render(worlds, *arguments)

    monkeypatch.setattr("infinitevggt_core.training.world_source.render", counted)
    source = WorldSource("easy", batch_frames=8)
    shape = ClipShape(batch=2, frames=20, stride=1000, height=28, width=42)
    clip = source.sample(shape, 0, np.random.default_rng(0))
    assert clip.images.shape == (2, 20, 3, 28, 42)
    assert faults(clip) == ["", ""]
    source.sample(shape, 1, np.random.default_rng(0))
    assert len(rendered) == 2
    # long after, all sequences have been replaced
    source.sample(shape, POOL * USES * SEQUENCE_FRAMES, np.random.default_rng(0))
    assert len(set(rendered)) == 4


def test_images_and_depth_of_any_size_are_cut_alike() -> None:
    rows, cols = 60, 120
    ramp = np.tile(np.arange(cols, dtype=np.float32), (rows, 1))
    place = fit_to((rows, cols), 28, 28)
    image = fit_image(np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8), place)
    depth = fit_depth(ramp, place)
    assert image.shape == (3, 28, 28)
    np.testing.assert_allclose(image[0] * 255, depth, atol=1.6)
    matrix = place.model_intrinsics(np.array([[50.0, 0, 59.5], [0, 50.0, 29.5], [0, 0, 1]]))
    np.testing.assert_allclose(matrix[:2, 2], 13.5, atol=0.5)
    np.testing.assert_allclose(matrix[0, 0], 50 * 28 / 60, rtol=1e-6)
