# SPDX-License-Identifier: Apache-2.0
"""Places are found again, and never more are kept than there is room for."""

from dataclasses import replace

import numpy as np
import pytest

from infinitevggt_core.tracking.loop_verifier import LoopVerifier
from infinitevggt_core.tracking.place import MOST_CORNERS, Place
from infinitevggt_core.tracking.place_index import LEAST_AGE, PlaceIndex
from infinitevggt_core.tracking.vocabulary import Vocabulary
from support.place_samples import blank, keyframe, room, wall

NOWHERE = np.eye(3, 4)


def random_place(index: int, dice: np.random.Generator, corners: int = 40) -> Place:
    return Place(
        index=index,
        submap=0,
        intrinsics=np.eye(3),
        height=240,
        descriptors=dice.integers(0, 256, (corners, 32), dtype=np.uint8),
        pixels=dice.random((corners, 2), dtype=np.float32),
        depth=np.ones(corners, dtype=np.float32),
    )


def test_a_room_is_found_among_other_places() -> None:
    index = PlaceIndex()
    for k, view in enumerate(room()):
        index.add(Place.of(keyframe(view, k)))
    for k in range(40):
        index.add(Place.of(keyframe(wall(k, NOWHERE), 100 + k)))
    again = replace(Place.of(keyframe(room()[5], 500)), index=500)
    found = [place.index for place in index.candidates(again)]
    assert abs(found[0] - 5) <= 2
    # those beside it are no candidates of their own
    assert not [other for other in found[1:] if abs(other - found[0]) <= 3]


def test_what_was_left_just_before_is_no_candidate() -> None:
    index = PlaceIndex()
    for k, view in enumerate(room()):
        index.add(Place.of(keyframe(view, k)))
    view = Place.of(keyframe(room()[5], LEAST_AGE + 4))
    found = [place.index for place in index.candidates(view)]
    assert found
    assert max(found) <= 4
    other = replace(view, submap=1)
    assert abs(index.candidates(other)[0].index - 5) <= 2


def test_five_thousand_places_leave_as_many_as_have_room() -> None:
    dice, index = np.random.default_rng(0), PlaceIndex(300)
    dropped = set()
    for k in range(5000):
        gone = index.add(random_place(k, dice))
        assert (gone is None) == (k < 300)
        dropped.add(gone)
        assert len(index) == min(k + 1, 300)
    assert {place.index for place in index} == set(range(5000)) - dropped
    assert index.nbytes < 300 * (20_000 + 4 * 512)


def test_of_two_that_show_the_same_the_poorer_goes() -> None:
    index, verifier = PlaceIndex(6), LoopVerifier()
    for k in range(5):
        index.add(Place.of(keyframe(wall(k, NOWHERE), k)))
    rich = Place.of(keyframe(room()[0], 50))
    index.add(rich)
    poor = replace(rich, index=90, depth=rich.depth.copy())
    poor.depth[:20] = np.nan
    assert index.add(poor, verifier.same_view) == 90
    assert 50 in index
    assert 90 not in index


def test_without_two_alike_the_most_alike_lose_one() -> None:
    dice, index = np.random.default_rng(1), PlaceIndex(5)
    places = [random_place(k, dice) for k in range(5)]
    twin = replace(places[3], index=7, depth=places[3].depth.copy())
    twin.depth[0] = np.nan
    for place in (*places[:4], twin):
        index.add(place)
    assert index.add(random_place(9, dice)) == 7


def test_images_without_corners_are_no_harm() -> None:
    index = PlaceIndex(3)
    for k in range(6):
        place = Place.of(blank(k))
        assert len(place) == 0
        index.add(place)
    assert len(index) == 3
    assert index.candidates(Place.of(blank(99))) == []
    assert index.candidates(Place.of(keyframe(room()[0], 99))) == []


def test_broken_points_are_corners_without_depth() -> None:
    made = keyframe(room()[0], 3)
    pixels, points = made.pixels.copy(), made.points.copy()
    points[:50] = np.nan
    points[50:60] = np.inf
    points[60:70] *= -1
    pixels[70:80] = np.nan
    pixels[80:90] = (-40, 1000)
    place = Place.of(replace(made, pixels=pixels, points=points))
    assert len(place) == min(len(pixels) - 20, MOST_CORNERS)
    assert np.isfinite(place.pixels).all()
    assert 0 < place.has_depth.sum() < len(place) - 60
    tiny = replace(made, gray=made.gray[:8, :8].copy())
    assert len(Place.of(tiny)) == 0


def test_a_state_finds_what_the_index_finds() -> None:
    index, copy = PlaceIndex(30), PlaceIndex(30)
    for k in range(45):
        index.add(Place.of(keyframe(wall(k % 40, NOWHERE), k)))
    copy.load_state_dict(index.state_dict())
    for one in (index, copy):
        one.add(Place.of(keyframe(wall(77, NOWHERE), 77)))
    assert [place.index for place in index] == [place.index for place in copy]
    view = Place.of(keyframe(wall(20, NOWHERE), 500))
    found = [[place.index for place in one.candidates(view)] for one in (index, copy)]
    assert found[0] == found[1] != []
    with pytest.raises(KeyError):
        copy.load_state_dict({"capacity": 3})
    assert len(copy) == 30


def test_the_vocabulary_is_trained_again_alike() -> None:
    dice = np.random.default_rng(0)
    centers = dice.integers(0, 256, (8, 32), dtype=np.uint8)
    flips = dice.random((800, 256)) < 0.03
    descriptors = np.repeat(centers, 100, axis=0) ^ np.packbits(flips, axis=1)
    one, other = (Vocabulary.train(descriptors, 8) for _ in range(2))
    np.testing.assert_array_equal(one.words, other.words)
    np.testing.assert_allclose(np.linalg.norm(one.histogram(descriptors)), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="need as many"):
        Vocabulary.train(descriptors[:3], 8)
