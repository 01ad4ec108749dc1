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


def clip_gradients(parts: Iterable[nn.Module], limit: float) -> float:
    """Cut the norm of each part's gradient to `limit` (0: any), and return that of the whole.

    Part by part: the pose's gradient is far greater than the others and would scale them all.
    """
    norms = [nn.utils.clip_grad_norm_(part.parameters(), limit or math.inf) for part in parts]
    return float(torch.stack(norms).norm())
