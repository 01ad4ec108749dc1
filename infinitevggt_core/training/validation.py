# SPDX-License-Identifier: Apache-2.0
"""Validation on clips that are never trained on, its metrics, and curves for TensorBoard."""

from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from infinitevggt_core.model import geometry
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.training.clip import ClipShape
from infinitevggt_core.training.feed import ClipFeed
from infinitevggt_core.training.targets import Targets, targets_of, targets_of_teacher


@dataclass(frozen=True, slots=True)
class Metrics:
    """Means over clips. The trivial prediction is one depth everywhere and no motion."""

    depth_absrel: float
    """Mean of |depth - truth| / truth, with one scale per clip."""
    depth_delta125: float
    """Share of pixels within a factor of 1.25 of the truth."""
    rotation_deg: float
    """Rotation error between the first camera of a clip and each other one."""
    translation: float
    """Translation error / true distance from the first camera, with the scale of the depth; 1
    for the trivial prediction."""
    depth_absrel_trivial: float
    rotation_deg_trivial: float

    @property
    def score(self) -> float:
        """Mean of the errors relative to those of the trivial prediction; below 1 is better than
        that."""
        ratios = (
            self.depth_absrel / max(self.depth_absrel_trivial, 1e-6),
            self.rotation_deg / max(self.rotation_deg_trivial, 1e-3),
            self.translation,
        )
        return sum(ratios) / len(ratios)

    def scalars(self) -> dict[str, float]:
        """Return all metrics and the score by name."""
        return {**asdict(self), "score": self.score}


@torch.no_grad()
def measure(prediction: Prediction, targets: Targets) -> list[Metrics]:
    """Return the metrics of each clip of a batch [B, S, ...]."""
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
    """Return rotation errors [B] in degrees of the prediction and of the identity, mean over
    frames."""
    wanted_turns = geometry.rotation_from_quaternion(wanted[..., 3:7])
    found_turns = geometry.rotation_from_quaternion(found[..., 3:7])
    relative = found_turns @ found_turns[:, :1].transpose(-1, -2)
    relative_wanted = wanted_turns @ wanted_turns[:, :1].transpose(-1, -2)
    errors = geometry.angle_deg(relative @ relative_wanted.transpose(-1, -2))[:, 1:]
    return errors.mean(1), geometry.angle_deg(relative_wanted)[:, 1:].mean(1)


class Validation:
    """Validation on a fixed set of clips, against a teacher if they have no labels."""

    def __init__(
        self, feed: ClipFeed, shape: ClipShape, clips: int, teacher: VGGT | None = None
    ) -> None:
        self.feed, self.shape, self.clips, self.teacher = feed, shape, clips, teacher

    @torch.no_grad()
    def run(self, model: VGGT) -> Metrics:
        """Return the mean metrics of a network, in fp32 with causal attention."""
        found: list[Metrics] = []
        number = 0
        while len(found) < self.clips:
            clip = self.feed.batch(number, self.shape)
            number += 1
            targets = targets_of(clip)
            if targets is None:
                if self.teacher is None:
                    raise ValueError("clips without labels need a teacher")
                targets = targets_of_teacher(self.teacher(clip.images, "full"))
            found.extend(measure(model(clip.images, "causal", points=False), targets))
        return mean_of(found[: self.clips])


class Curves:
    """TensorBoard curves in `directory`, or none without a directory."""

    def __init__(self, directory: Path | None, first_step: int) -> None:
        """first_step: points from this step on are purged from an earlier run."""
        self._writer = None
        if directory is not None:
            self._writer = SummaryWriter(str(directory), purge_step=first_step)

    def add(self, group: str, scalars: dict[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def __enter__(self) -> "Curves":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
