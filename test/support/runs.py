# SPDX-License-Identifier: Apache-2.0
"""The smallest training runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from infinitevggt_core import VGGT, ModelConfig
from infinitevggt_core.training import ClipSource, TrainConfig, Trainer, initialise
from infinitevggt_core.training.config import ClipConfig, OptimizerConfig, StudentConfig
from support.room_clips import RoomSource

SMALL = ModelConfig(
    img_size=42,
    embed_dim=32,
    depth=4,
    num_heads=2,
    patch_embed="conv",
    camera_trunk_depth=1,
    camera_num_heads=2,
    dpt_features=8,
    dpt_out_channels=(8, 8, 8, 8),
    dpt_layers=(0, 1, 2, 3),
)
SHORT = TrainConfig(
    clips=ClipConfig(
        batch_frames=6,
        frames_first=2,
        frames_last=3,
        stride_last=2,
        width_first=42,
        width_last=42,
        aspect_low=0.66,
        aspect_high=0.66,
        growth_steps=4,
    ),
    optimizer=OptimizerConfig(steps=6, warmup_steps=2, lr=2e-3),
    student=StudentConfig(precision="fp32"),
    validate_every=3,
    validation_clips=2,
    save_every=3,
    log_every=1,
)


def changed(config: TrainConfig = SHORT, **values: Any) -> TrainConfig:
    """Return `config` with other values; those of its groups as dicts: optimizer={"steps": 3}."""
    parts = {
        name: replace(getattr(config, name), **value) if isinstance(value, dict) else value
        for name, value in values.items()
    }
    return replace(config, **parts)


def small_student(seed: int = 0) -> VGGT:
    return initialise(SMALL, seed, layer_scale=1.0)


def trainer(
    out: Path,
    config: TrainConfig = SHORT,
    source: ClipSource | None = None,
    model: VGGT | None = None,
    **others: Any,
) -> Trainer:
    return Trainer(model or small_student(), source or RoomSource(), config, out, **others)
