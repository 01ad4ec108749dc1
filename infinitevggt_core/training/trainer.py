# SPDX-License-Identifier: Apache-2.0
"""Training loop."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.model.checkpoint import save_checkpoint
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.training.clip import Clip, ClipSource
from infinitevggt_core.training.config import TrainConfig
from infinitevggt_core.training.feed import ClipFeed
from infinitevggt_core.training.losses import dense_loss, distill_loss, task_loss
from infinitevggt_core.training.optimizer import (
    Ema,
    build_optimizers,
    clip_gradients,
    learning_rate,
    set_learning_rate,
)
from infinitevggt_core.training.processes import Processes, Stopping
from infinitevggt_core.training.schedule import FrameSubset, full_shape, shape_at, subset_at
from infinitevggt_core.training.state import RunState, random_state, set_random_state
from infinitevggt_core.training.student import Student
from infinitevggt_core.training.targets import targets_of, targets_of_teacher
from infinitevggt_core.training.validation import Curves, Metrics, Validation

VALIDATION_SEED = 1


class DivergedError(RuntimeError):
    """The loss or its gradient is not finite. The message names the file of the saved batch."""


@dataclass(frozen=True, slots=True)
class TrainReport:
    """Result of a run."""

    step: int
    finished: bool
    """True if the run reached its last step."""
    frames: int
    """Number of training frames, over all processes and resumptions."""
    seconds: float
    skipped: dict[str, int]
    metrics: Metrics | None
    """Metrics of the last validation."""


class Trainer:
    """Trains `model` on clips from `source`.

    Writes to `out`: last.safetensors and best.safetensors (averaged weights), state.pt (to resume
    from) and curves/ (for TensorBoard).
    """

    def __init__(
        self,
        model: VGGT,
        source: ClipSource,
        config: TrainConfig,
        out: Path,
        *,
        validation: ClipSource | None = None,
        teacher: VGGT | None = None,
        processes: Processes | None = None,
    ) -> None:
        """teacher: network whose outputs with full attention are additional labels, or the only
        ones."""
        self.config, self.out = config, Path(out)
        self.processes = processes or Processes(torch.device("cpu"))
        device, patch = self.processes.device, model.config.patch_size
        self.student = Student(
            model.to(device),
            config.student,
            points=config.loss.points_weight > 0,
            tracks=config.loss.track_weight > 0,
            matches=config.loss.matching_weight > 0,
        )
        self.module = self.processes.wrap(self.student)
        self.ema = Ema(model, config.optimizer.ema_decay)
        self.optimizers = build_optimizers(self.student, config.optimizer)
        self.teacher = teacher.to(device).requires_grad_(False).eval() if teacher else None
        self.feed = ClipFeed(source, config.seed, device)
        self.validation = None
        if validation is not None and config.validation_clips:
            feed = ClipFeed(validation, VALIDATION_SEED, device)
            shape = full_shape(config.clips, patch)
            self.validation = Validation(feed, shape, config.validation_clips, self.teacher)
        self.step, self.frames, self.seconds = 0, 0, 0.0
        self.best_score = math.inf
        self.metrics: Metrics | None = None

    def run(self) -> TrainReport:
        """Train to the last step, a signal or the time limit. All of them leave a checkpoint."""
        self.out.mkdir(parents=True, exist_ok=True)
        stopping = Stopping(self.config.minutes)
        first = self.processes.is_first
        start, before = time.monotonic(), self.seconds
        total = self.config.optimizer.steps
        with (
            Curves(self.out / "curves" if first else None, self.step + 1) as curves,
            tqdm(total=total, initial=self.step, disable=None if first else True) as bar,
            stopping.on_signals(),
        ):
            stop = False
            while self.step < total and not stop:
                scalars = self.train_step()
                self.seconds = before + time.monotonic() - start
                stop = self.processes.any(stopping.is_due)
                self._report(scalars, curves, bar)
                last = stop or self.step == total
                if self.validation and (last or self._every(self.config.validate_every)):
                    self._validate(curves, bar)
                if last or self._every(self.config.save_every):
                    self.save()
        return TrainReport(
            self.step,
            self.step >= total,
            self.frames,
            self.seconds,
            dict(self.feed.skipped),
            self.metrics,
        )

    def _every(self, steps: int) -> bool:
        return self.step % steps == 0

    def train_step(self) -> dict[str, float]:
        """Run one step of the optimizer and return its scalars."""
        config = self.config.optimizer
        lr = learning_rate(self.step, config)
        set_learning_rate(self.optimizers.values(), lr)
        seed = self.config.seed
        shape = shape_at(self.step, self.config.clips, self.student.patch_size, seed)
        subset = subset_at(self.step, shape.frames, self.config.student.dense_share, seed)
        batches: list[tuple[Clip, dict[str, Tensor]]] = []
        for micro in range(config.accumulate):
            number = (self.step * config.accumulate + micro) * self.processes.count
            clip = self.feed.batch(number + self.processes.rank, shape)
            with self._without_sync(micro + 1 < config.accumulate):
                parts = self.losses(clip, subset)
                loss = torch.stack(list(parts.values())).sum()
                (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
            batches.append((clip, {name: part.detach() for name, part in parts.items()}))
        gradient = {"norm": clip_gradients(self.student.parts(), config.clip_norm)}
        # the only wait for the device, before the weights change
        *losses, norms = on_host([*(parts for _, parts in batches), gradient])
        self._refuse_nan([clip for clip, _ in batches], losses, norms["norm"])
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.frames += shape.batch * shape.frames * config.accumulate * self.processes.count
        self.ema.update(self.student.model, self.step)
        values = {name: sum(x[name] for x in losses) / len(losses) for name in losses[0]}
        return {"loss": sum(values.values()), **values, "lr": lr, "gradient_norm": norms["norm"]}

    def _without_sync(self, apply: bool) -> AbstractContextManager[None]:
        """Exchange gradients once per step, with its last batch."""
        if apply and isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return nullcontext()

    def losses(self, clip: Clip, subset: FrameSubset) -> dict[str, Tensor]:
        """Return the weighted parts of the loss."""
        targets = targets_of(clip)
        if targets is None and self.teacher is None:
            raise ValueError("the clips have no depth and poses: give a teacher to learn from")
        outputs = self.module(clip.images, subset)
        parts: dict[str, Tensor] = {}
        if targets is not None:
            parts |= task_loss(outputs, targets, self.config.loss)
            parts |= dense_loss(outputs, targets, self.config.loss, self.student.patch_size)
        elif outputs.tracks:  # every weight has to take part in the exchange of gradients
            parts["tracks"] = 0 * torch.stack([t.sum() for t in outputs.tracks]).sum()
        if self.teacher is not None:
            with torch.no_grad(), self._teacher_precision():
                taught = targets_of_teacher(self.teacher(clip.images, "full"))
            parts |= distill_loss(outputs, taught, self.config.loss)
        return parts

    def _teacher_precision(self) -> torch.autocast:
        return torch.autocast(
            self.processes.device.type, torch.bfloat16, enabled=self.student.autocasts
        )

    def _refuse_nan(
        self, clips: Sequence[Clip], losses: Sequence[Mapping[str, float]], norm: float
    ) -> None:
        """Raise DivergedError if the losses of one of the clips or the gradient are not finite."""
        for clip, parts in zip(clips, losses, strict=True):
            bad = [name for name, part in parts.items() if not math.isfinite(part)]
            if bad:
                self._diverged(f"the loss ({', '.join(bad)})", clip)
        if not math.isfinite(norm):
            self._diverged("the gradient", clips[-1])

    def _diverged(self, what: str, clip: Clip) -> None:
        path = self.out / f"diverged_step{self.step}_process{self.processes.rank}.pt"
        with whole_file(path) as partial:
            torch.save({"step": self.step, **clip.to(torch.device("cpu")).tensors()}, partial)
        raise DivergedError(
            f"{what} of step {self.step} is not finite: the batch is saved as {path}. "
            f"Resume from the last checkpoint with a lower --lr, or look for bad data in it"
        )

    def _report(self, scalars: dict[str, float], curves: Curves, bar: "tqdm[None]") -> None:
        bar.update()
        if not self._every(self.config.log_every):
            return
        scalars = self.processes.mean(scalars)
        rate = self.frames / max(self.seconds, 1e-9)
        skipped = sum(self.feed.skipped.values())
        curves.add("train", {**scalars, "frames_per_s": rate, "skipped_clips": skipped}, self.step)
        bar.set_postfix(loss=f"{scalars['loss']:.4f}", fps=f"{rate:.0f}", skipped=skipped)

    def _validate(self, curves: Curves, bar: "tqdm[None]") -> None:
        if self.processes.is_first and self.validation:
            self.metrics = self.validation.run(self.ema.model)
            curves.add("validation", self.metrics.scalars(), self.step)
            values = ", ".join(f"{k} {v:.3f}" for k, v in self.metrics.scalars().items())
            bar.write(f"step {self.step}, {self.frames} frames: {values}")
            if self.metrics.score < self.best_score:
                self.best_score = self.metrics.score
                self._save_weights("best")
        self.processes.wait()

    def _save_weights(self, name: str) -> None:
        dtype = torch.float16 if self.config.half else None
        save_checkpoint(self.ema.model, self.out / f"{name}.safetensors", dtype)

    def save(self) -> None:
        """Save the weights and the state of the run."""
        if self.processes.is_first:
            self._save_weights("last")
            self.state().save(self.out)
        self.processes.wait()

    def state(self) -> RunState:
        """Return the state on which the next step depends."""
        return RunState(
            step=self.step,
            config=self.config,
            model_config=self.student.model.config,
            student=self.student.state_dict(),
            ema=self.ema.model.state_dict(),
            optimizers={name: o.state_dict() for name, o in self.optimizers.items()},
            random=random_state(),
            best_score=self.best_score,
            frames=self.frames,
            seconds=self.seconds,
            skipped=dict(self.feed.skipped),
        )

    def resume(self, state: RunState) -> None:
        """Continue from a saved state with identical results."""
        self.step, self.frames, self.seconds = state.step, state.frames, state.seconds
        self.best_score = state.best_score
        self.student.load_state_dict(state.student)
        self.ema.model.load_state_dict(state.ema)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state.optimizers[name])
        self.feed.skipped.clear()
        self.feed.skipped.update(state.skipped)
        set_random_state(state.random)


def on_host(groups: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """Return scalars of the device as numbers, in one transfer."""
    scalars = [scalar.float() for group in groups for scalar in group.values()]
    numbers = iter(torch.stack(scalars).tolist())
    return [{name: next(numbers) for name in group} for group in groups]
