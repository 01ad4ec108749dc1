"""What a network in training says about a batch of clips."""

from dataclasses import dataclass

from torch import Tensor

from infinitevggt_core.prediction import Prediction


@dataclass(frozen=True, slots=True)
class Outputs:
    """As `Prediction` with [B, S, ...], and the pose after each refinement."""

    poses: tuple[Tensor, ...]
    """4 x [B, S, 9]; the last is the result."""
    depth: Tensor
    depth_confidence: Tensor
    points: Tensor | None
    points_confidence: Tensor | None
    tracks: tuple[Tensor, ...] = ()
    """Per level [B, S, patches, 2], see patch_tracks.py."""
    matches: tuple[Tensor, ...] = ()
    """Per global layer [B, heads / 2, S - 1, patches, patches], see matching.py."""

    @property
    def prediction(self) -> Prediction:
        return Prediction(
            self.poses[-1], self.depth, self.depth_confidence, self.points, self.points_confidence
        )
