# SPDX-License-Identifier: Apache-2.0
"""AdamW or Muon with warm-up and cosine decay, and averaged weights."""

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.training.config import OptimizerConfig

MUON_LR = 2.0
"""Muon's learning rate relative to AdamW's, given steps scaled to the same RMS."""
Group: TypeAlias = dict[str, Any]


def build_optimizers(
    module: nn.Module, config: OptimizerConfig
) -> dict[str, torch.optim.Optimizer]:
    """Return the optimizers of all trainable parameters by name.

    Vectors (biases, norms, scales) and tokens have no weight decay. Each group stores its learning
    rate relative to `lr` under "relative".
    """
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
        optimizers["muon"] = Muon([group], MUON_LR * config.lr, config.weight_decay / MUON_LR)
    return optimizers


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum and orthogonalised updates of matrices (Jordan et al. 2024).

    The updates have the RMS of AdamW's (Liu et al. 2025, arXiv 2502.16982). `torch.optim.Muon`
    orthogonalises in bf16, which takes 16 times as long as fp32 on a CPU that only emulates bf16.
    """

    def __init__(self, params: list[Group], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                average = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
                update = orthogonalised(parameter.grad.lerp(average, momentum))
                parameter.mul_(1 - lr * group["weight_decay"])
                parameter.add_(update, alpha=-0.2 * lr * max(parameter.shape) ** 0.5)


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return a matrix with the same singular vectors and singular values near 1.

    Newton-Schulz iteration of degree 5.
    """
    a, b, c = 3.4445, -4.775, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def _is_of_block(name: str, parameter: nn.Parameter) -> bool:
    """Return True for matrices of transformer blocks."""
    return parameter.ndim == 2 and any(part in name for part in ("blocks.", "trunk."))


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], lr: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["relative"] * lr


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine decay to final_lr * lr."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    rest = max(1, config.steps - config.warmup_steps)
    fraction = min(1.0, (step - config.warmup_steps) / rest)
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


def clip_gradients(parts: Iterable[nn.Module], limit: float) -> Tensor:
    """Clip the gradient norm of each part to `limit` (0: no limit) and return the total norm, a
    scalar on the device.

    Parts are clipped one by one because the gradient of the pose is far larger than the others.
    """
    norms = [nn.utils.clip_grad_norm_(part.parameters(), limit or math.inf) for part in parts]
    total: Tensor = torch.stack(norms).norm()
    return total


class Ema:
    """Exponential moving average of the weights of a network."""

    def __init__(self, model: VGGT, decay: float) -> None:
        self.decay = decay
        with torch.device(model.device):
            self.model = VGGT(model.config).requires_grad_(False).eval()
        self.model.load_state_dict(model.state_dict())
        for head in (self.model.depth_head, self.model.point_head):
            head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def update(self, model: VGGT, step: int) -> None:
        """Update the average after `step` steps. Early steps use a lower decay rate."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = list(self.model.parameters())
        theirs: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)
