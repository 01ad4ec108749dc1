# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run. Every default is defined here once."""

from dataclasses import dataclass, field
from typing import Any

from infinitevggt_core.config import Options, check_options, option


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """Shapes of the clips: short and slow at first, growing over `growth_steps`."""

    batch_frames: int = option(
        48,
        "frames per batch and process; the number of clips is this / their length",
        low=2,
        high=4096,
    )
    frames_first: int = option(2, "maximum length of clips at the start", low=2, high=200)
    frames_last: int = option(8, "maximum length of clips at the end", low=2, high=200)
    stride_first: int = option(
        1, "maximum stride between frames of a clip at the start, in video frames", low=1, high=1000
    )
    stride_last: int = option(4, "maximum stride at the end, in video frames", low=1, high=1000)
    width_first: int = option(
        112, "image width at the start, a multiple of the patch size", unit="px", low=28,
        high=4096,
    )  # fmt: skip
    width_last: int = option(112, "image width at the end", unit="px", low=28, high=4096)
    aspect_low: float = option(0.75, "minimum height / width of images", low=0.2, high=2)
    aspect_high: float = option(0.75, "maximum height / width of images", low=0.2, high=2)
    growth_steps: int = option(
        10_000, "steps over which clips grow; 0: full size from the start", low=0, high=10_000_000
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
    """Optimizer and learning rate schedule: linear warm-up, then cosine decay."""

    steps: int = option(20_000, "length of the run", unit="steps", low=1, high=100_000_000)
    optimizer: str = option(
        "adamw",
        "muon: orthogonalised updates of the blocks' matrices, AdamW for the rest; needs "
        "fewer clips",
        choices=("adamw", "muon"),
    )
    lr: float = option(1e-3, "learning rate after the warm-up", low=0, high=1)
    final_lr: float = option(0.01, "learning rate at the end, relative to lr", low=0, high=1)
    warmup_steps: int = option(500, "steps of linear warm-up", low=0, high=1_000_000)
    weight_decay: float = option(0.05, "weight decay of matrices and kernels", low=0, high=10)
    beta2: float = option(0.95, "decay rate of AdamW's second moment", low=0, high=0.99999)
    clip_norm: float = option(
        1.0, "maximum gradient norm of each part of the network; 0: no limit", low=0, high=1e6
    )
    accumulate: int = option(1, "batches per step", low=1, high=1000)
    ema_decay: float = option(
        0.999, "decay rate of the averaged weights, which are validated and saved", low=0,
        high=0.999999,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StudentConfig(Options):
    """Trainable parts and precision of the network."""

    layer_scale: float = option(
        1.0, "initial value of LayerScale in a network trained from scratch", low=1e-6, high=10
    )
    freeze_patch_embedding: bool = option(False, "do not train the patch embedding")
    freeze_special_tokens: bool = option(False, "do not train camera and register tokens")
    dense_share: float = option(
        1.0,
        "share of each clip's frames with depth and point maps, drawn at every step",
        low=0,
        high=1,
    )
    gradient_checkpointing: bool = option(
        False, "recompute blocks in the backward pass: less memory, a third more computation"
    )
    precision: str = option(
        "auto",
        "bf16: autocast, with outputs and losses in fp32; auto: bf16 if it is fast on the device",
        choices=("auto", "fp32", "bf16"),
    )


@dataclass(frozen=True, slots=True)
class LossConfig(Options):
    """Weights of the parts of the loss."""

    pose_weight: float = option(5.0, "weight of the pose encoding", low=0, high=1000)
    translation_weight: float = option(
        1.0, "weight of the translation within the pose loss", low=0, high=100
    )
    rotation_weight: float = option(
        1.0, "weight of the quaternion within the pose loss", low=0, high=100
    )
    fov_weight: float = option(
        0.5, "weight of the field of view within the pose loss", low=0, high=100
    )
    pose_huber: float = option(
        0.02, "pose errors below this count quadratically; 0: L1", low=0, high=10
    )
    refinement_decay: float = option(
        0.6, "weight of each refinement of the pose, relative to the next one", low=0, high=1
    )
    depth_weight: float = option(1.0, "weight of the depth maps", low=0, high=1000)
    points_weight: float = option(
        1.0, "weight of the point maps; 0: the point head is not trained", low=0, high=1000
    )
    gradient_weight: float = option(
        1.0,
        "weight of the gradients of depth and point maps, relative to their values",
        low=0,
        high=100,
    )
    gradient_scales: int = option(
        3, "number of scales of the gradient loss: 1, 2, 4 ... px", low=1, high=6
    )
    log_depth: bool = option(
        False,
        "compare logarithms of depth: relative errors count alike, in both directions",
    )
    confidence_alpha: float = option(
        0.2, "reward of log confidence: confidence tends to alpha / error", low=0, high=10
    )
    track_weight: float = option(
        5.0,
        "weight of the shift of each patch since the first image, on all intermediate features",
        low=0,
        high=1000,
    )
    place_weight: float = option(
        1.0,
        "weight of each patch's position in the world and the camera, on all intermediate features",
        low=0,
        high=1000,
    )
    matching_weight: float = option(
        1.0,
        "weight of attention to matching patches of an earlier image, in half of the "
        "heads; needs memory for patches^2 per frame and layer",
        low=0,
        high=1000,
    )
    distill_weight: float = option(
        1.0, "weight lambda of the teacher's outputs, relative to the labels", low=0, high=1000
    )


@dataclass(frozen=True, slots=True)
class TrainConfig(Options):
    """Settings of a training run."""

    seed: int = option(0, "seed of weights and data", low=0, high=2**31 - 1)
    validate_every: int = option(500, "steps between validations", low=1, high=10_000_000)
    validation_clips: int = option(
        32, "clips per validation; 0: no validation", low=0, high=100_000
    )
    save_every: int = option(500, "steps between checkpoints", low=1, high=10_000_000)
    log_every: int = option(20, "steps between points of the curves", low=1, high=1_000_000)
    half: bool = option(True, "save weights in half precision")
    minutes: float = option(
        0.0, "stop with a checkpoint after this time; 0: no limit", unit="min", low=0, high=1e6
    )
    clips: ClipConfig = field(default_factory=ClipConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    @classmethod
    def of(cls, values: dict[str, Any]) -> "TrainConfig":
        """Return the configuration of a dictionary made by `dataclasses.asdict`."""
        groups = {name: GROUPS[name](**values[name]) for name in GROUPS}
        return cls(**{**values, **groups})


GROUPS: dict[str, type[Any]] = {
    "clips": ClipConfig,
    "optimizer": OptimizerConfig,
    "student": StudentConfig,
    "loss": LossConfig,
}
"""Fields of `TrainConfig` that are dataclasses themselves."""
