# SPDX-License-Identifier: Apache-2.0
"""What a validation measures."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from infinitevggt_core.model import geometry
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.training.targets import Targets


@dataclass(frozen=True, slots=True)
class Metrics:
    """Means over clips. A trivial guess is: the depth is the same everywhere, nothing moves."""

    depth_absrel: float
    """|depth - truth| / truth, one scale per clip."""
    depth_delta125: float
    """Share of pixels within a factor of 1.25."""
    rotation_deg: float
    """Between a clip's first camera and each other one."""
    translation: float
    """Error / true length of the way from the first camera, with the depth's scale; the trivial
    guess has 1."""
    depth_absrel_trivial: float
    rotation_deg_trivial: float

    @property
    def score(self) -> float:
        """Mean of the errors, each relative to the trivial guess's: below 1 is better than that."""
        ratios = (
            self.depth_absrel / max(self.depth_absrel_trivial, 1e-6),
            self.rotation_deg / max(self.rotation_deg_trivial, 1e-3),
            self.translation,
        )
        return sum(ratios) / len(ratios)

    def scalars(self) -> dict[str, float]:
        """With the score, for curves."""
        return {**asdict(self), "score": self.score}


@torch.no_grad()
def measure(prediction: Prediction, targets: Targets) -> list[Metrics]:
    """One per clip of a batch ([B, S, ...])."""
    rotations, trivial_rotations = _rotation_errors(prediction.pose_encoding, targets.pose_encoding)
    results = []
    for index in range(len(targets.depth)):
        valid = targets.valid[index]
        truth, guess = targets.depth[index][valid], prediction.depth[index][valid]
        scale = truth.median() / guess.median()
        ratio = scale * guess / truth
        constant = truth.median() / truth
        found, wanted = prediction.pose_encoding[index, :, :3], targets.pose_encoding[index, :, :3]
        way = wanted[1:].norm(dim=-1).mean().clamp(min=1e-6)
        off = (scale * (found - found[:1]) - wanted)[1:].norm(dim=-1).mean()
        results.append(
            Metrics(
                depth_absrel=float((ratio - 1).abs().mean()),
                depth_delta125=float((torch.maximum(ratio, 1 / ratio) < 1.25).float().mean()),
                rotation_deg=float(rotations[index]),
                translation=float(off / way),
                depth_absrel_trivial=float((constant - 1).abs().mean()),
                rotation_deg_trivial=float(trivial_rotations[index]),
            )
        )
    return results


def mean_of(metrics: list[Metrics]) -> Metrics:
    names = Metrics.__slots__
    return Metrics(**{n: sum(getattr(m, n) for m in metrics) / len(metrics) for n in names})


def _rotation_errors(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """[B] degrees, mean over the frames but the first: of the prediction, of the identity."""
    wanted_turns = geometry.rotation_from_quaternion(wanted[..., 3:7])
    found_turns = geometry.rotation_from_quaternion(found[..., 3:7])
    relative = found_turns @ found_turns[:, :1].transpose(-1, -2)
    relative_wanted = wanted_turns @ wanted_turns[:, :1].transpose(-1, -2)
    errors = geometry.angle_deg(relative @ relative_wanted.transpose(-1, -2))[:, 1:]
    return errors.mean(1), geometry.angle_deg(relative_wanted)[:, 1:].mean(1)
