# SPDX-License-Identifier: Apache-2.0
"""The settings of a training run; every default is written here, once."""

from dataclasses import dataclass, field
from typing import Any

from infinitevggt_core.config import Options, check_options, option
from infinitevggt_core.training.losses import LossConfig


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """Which clips are shown: short and slow ones first, growing over `growth_steps`."""

    batch_frames: int = option(
        48, "frames of a batch in each process; clips of it: this / their length", low=2, high=4096
    )
    frames_first: int = option(2, "length of the clips at the start", low=2, high=200)
    frames_last: int = option(8, "greatest length of the clips at the end", low=2, high=200)
    stride_first: int = option(
        1, "greatest number of video frames between two of a clip at the start", low=1, high=1000
    )
    stride_last: int = option(4, "the same at the end", low=1, high=1000)
    width_first: int = option(
        112, "width of the images at the start, a multiple of the patch size", unit="px", low=28,
        high=4096,
    )  # fmt: skip
    width_last: int = option(112, "the same at the end", unit="px", low=28, high=4096)
    aspect_low: float = option(0.75, "smallest height of an image / its width", low=0.2, high=2)
    aspect_high: float = option(0.75, "greatest height of an image / its width", low=0.2, high=2)
    growth_steps: int = option(
        10_000, "steps over which clips grow; 0: full size at once", low=0, high=10_000_000
    )

    def __post_init__(self) -> None:
        check_options(self)
        for low, high in (("frames_first", "frames_last"), ("aspect_low", "aspect_high")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} must not be above {high}")
        if self.batch_frames < self.frames_last:
            raise ValueError("batch_frames must hold one clip of frames_last")


@dataclass(frozen=True, slots=True)
class OptimizerConfig(Options):
    """The steps: warm-up, then a cosine."""

    steps: int = option(20_000, "length of the run", unit="steps", low=1, high=100_000_000)
    optimizer: str = option(
        "adamw",
        "muon: orthogonalised steps for the matrices of the blocks, AdamW for the rest; learns "
        "from fewer clips",
        choices=("adamw", "muon"),
    )
    lr: float = option(1e-3, "learning rate after the warm-up", low=0, high=1)
    final_lr: float = option(0.01, "learning rate at the end, relative to lr", low=0, high=1)
    warmup_steps: int = option(500, "steps of linear warm-up", low=0, high=1_000_000)
    weight_decay: float = option(0.05, "of matrices and kernels", low=0, high=10)
    beta2: float = option(0.95, "decay of AdamW's second moment", low=0, high=0.99999)
    clip_norm: float = option(
        1.0, "greatest norm of the gradient of each part of the network; 0: any", low=0, high=1e6
    )
    accumulate: int = option(1, "batches per step", low=1, high=1000)
    ema_decay: float = option(
        0.999, "decay of the averaged weights, which are what is validated and saved", low=0,
        high=0.999999,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StudentConfig(Options):
    """How the network is trained."""

    layer_scale: float = option(
        1.0, "first value of LayerScale in a network trained from scratch", low=1e-6, high=10
    )
    freeze_patch_embedding: bool = option(False, "leave the patch embedding as it is")
    freeze_special_tokens: bool = option(False, "leave camera and register tokens as they are")
    dense_share: float = option(
        1.0,
        "share of each clip's frames, drawn anew every step, that depth and points are made for",
        low=0,
        high=1,
    )
    gradient_checkpointing: bool = option(
        False, "recompute blocks in the backward pass: less memory, a third more work"
    )
    precision: str = option(
        "auto", "bf16: autocast, heads' outputs and losses in fp32; auto: bf16 where it is fast",
        choices=("auto", "fp32", "bf16"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainConfig(Options):
    """A training run."""

    seed: int = option(0, "of weights and data", low=0, high=2**31 - 1)
    validate_every: int = option(500, "steps between validations", low=1, high=10_000_000)
    validation_clips: int = option(32, "clips of a validation; 0: none", low=0, high=100_000)
    save_every: int = option(500, "steps between checkpoints", low=1, high=10_000_000)
    log_every: int = option(20, "steps between points of the curves", low=1, high=1_000_000)
    half: bool = option(True, "save checkpoints in half precision")
    minutes: float = option(
        0.0, "stop after this time, with a checkpoint; 0: no limit", unit="min", low=0, high=1e6
    )
    clips: ClipConfig = field(default_factory=ClipConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    @classmethod
    def of(cls, values: dict[str, Any]) -> "TrainConfig":
        """From `dataclasses.asdict`."""
        groups = {name: GROUPS[name](**values[name]) for name in GROUPS}
        return cls(**{**values, **groups})


GROUPS: dict[str, type[Any]] = {
    "clips": ClipConfig,
    "optimizer": OptimizerConfig,
    "student": StudentConfig,
    "loss": LossConfig,
}
"""The fields of `TrainConfig` that are settings of their own."""
