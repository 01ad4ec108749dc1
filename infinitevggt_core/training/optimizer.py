"""AdamW, warm-up and cosine."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from infinitevggt_core.training.config import OptimizerConfig


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Over what has a gradient; vectors (biases, norms, scales) and tokens do not decay."""
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not trained:
        raise ValueError("everything is frozen: there is nothing to train")
    decaying = [p for name, p in trained if p.ndim > 1 and not name.endswith(("token", "tokens"))]
    rest = [p for name, p in trained if p.ndim <= 1 or name.endswith(("token", "tokens"))]
    groups = [
        {"params": decaying, "weight_decay": config.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """For step 0, 1, ...: linear up, then half a cosine down to final_lr * lr."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    rest = max(1, config.steps - config.warmup_steps)
    fraction = min(1.0, (step - config.warmup_steps) / rest)
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


def gradient_norm(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Norm of the gradient, which is then cut to `limit` (0: any)."""
    norm = nn.utils.clip_grad_norm_(parameters, limit or math.inf)
    return float(norm)
