# SPDX-License-Identifier: Apache-2.0
"""What a network in training says about a batch of clips."""

from dataclasses import dataclass

from torch import Tensor

from infinitevggt_core.training.focus import Focus


@dataclass(frozen=True, slots=True)
class Outputs:
    """As `Prediction` with [B, F, ...], and the pose after each refinement."""

    poses: tuple[Tensor, ...]
    """4 x [B, S, 9]; the last is the result."""
    focus: Focus
    """The maps below have its F dense frames only."""
    depth: Tensor
    depth_confidence: Tensor
    points: Tensor | None
    points_confidence: Tensor | None
    tracks: tuple[Tensor, ...] = ()
    """Per level [B, S, patches, 8], see patch_tracks.py."""
    matches: tuple[Tensor, ...] = ()
    """Per global layer [B, heads / 2, S - 1 - reference, patches, patches], see matching.py."""
