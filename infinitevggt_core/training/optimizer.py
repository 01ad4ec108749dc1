# SPDX-License-Identifier: Apache-2.0
"""AdamW or Muon, warm-up and cosine."""

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import torch
from torch import nn

from infinitevggt_core.training.config import OptimizerConfig

MUON_LR = 2.0
"""Muon's learning rate relative to AdamW's; its steps are scaled to be as long as those."""
Group: TypeAlias = dict[str, Any]


def build_optimizers(
    module: nn.Module, config: OptimizerConfig
) -> dict[str, torch.optim.Optimizer]:
    """Over what has a gradient, each by its name; vectors (biases, norms, scales) and tokens do
    not decay. The groups keep their share of the learning rate under "relative"."""
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not trained:
        raise ValueError("everything is frozen: there is nothing to train")
    turned = [p for name, p in trained if config.optimizer == "muon" and _is_of_block(name, p)]
    rest = [(name, p) for name, p in trained if not any(p is other for other in turned)]
    decaying = [p for name, p in rest if p.ndim > 1 and not name.endswith(("token", "tokens"))]
    free = [p for name, p in rest if p.ndim <= 1 or name.endswith(("token", "tokens"))]
    groups: list[Group] = [
        {"params": decaying, "weight_decay": config.weight_decay, "relative": 1.0},
        {"params": free, "weight_decay": 0.0, "relative": 1.0},
    ]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)
    }
    if turned:
        group: Group = {"params": turned, "relative": MUON_LR}
        optimizers["muon"] = torch.optim.Muon(
            [group],
            lr=MUON_LR * config.lr,
            weight_decay=config.weight_decay / MUON_LR,
            adjust_lr_fn="match_rms_adamw",
        )
    return optimizers


def _is_of_block(name: str, parameter: nn.Parameter) -> bool:
    """Whether it is a matrix of a transformer block."""
    return parameter.ndim == 2 and any(part in name for part in ("blocks.", "trunk."))


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], lr: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["relative"] * lr


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """For step 0, 1, ...: linear up, then half a cosine down to final_lr * lr."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    rest = max(1, config.steps - config.warmup_steps)
    fraction = min(1.0, (step - config.warmup_steps) / rest)
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


def clip_gradients(parts: Iterable[nn.Module], limit: float) -> float:
    """Cut the norm of each part's gradient to `limit` (0: any), and return that of the whole.

    Part by part: the pose's gradient is far greater than the others and would scale them all.
    """
    norms = [nn.utils.clip_grad_norm_(part.parameters(), limit or math.inf) for part in parts]
    return float(torch.stack(norms).norm())
