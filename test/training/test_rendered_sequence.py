# SPDX-License-Identifier: Apache-2.0
"""Colours of training clips."""

import numpy as np
import torch

from infinitevggt_core.training.rendered_sequence import recolored


def test_recolored_clips_keep_their_edges_and_their_range() -> None:
    images = torch.rand(3, 3, 8, 10, generator=torch.manual_seed(0))
    swapped = inverted = unchanged = 0
    for seed in range(200):
        other = recolored(images, np.random.default_rng(seed))
        assert other.shape == images.shape
        assert other.min() >= 0
        assert other.max() <= 1
        # each channel is a monotone function of one channel of the original
        ranks = other.flatten(2).argsort(-1)
        mine = images.flatten(2).argsort(-1)
        found = [
            (channel, flipped)
            for channel in range(3)
            for flipped in (False, True)
            if torch.equal(ranks[:, 0].flip(-1) if flipped else ranks[:, 0], mine[:, channel])
        ]
        assert len(found) == 1
        swapped += found[0][0] != 0
        inverted += found[0][1]
        unchanged += torch.equal(other, images)
    assert 20 < swapped < 60
    assert 15 < inverted < 50
    assert 40 < unchanged < 90


def test_all_images_of_a_clip_change_alike() -> None:
    images = torch.rand(1, 3, 8, 10, generator=torch.manual_seed(0)).expand(4, 3, 8, 10)
    for seed in range(20):
        other = recolored(images, np.random.default_rng(seed))
        torch.testing.assert_close(other, other[:1].expand_as(other))
