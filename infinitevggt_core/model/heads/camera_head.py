# SPDX-License-Identifier: Apache-2.0
"""Camera pose from the camera token, refined four times (docs/model.md, Camera head)."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model.kernels import Linear
from infinitevggt_core.model.layers import Block, Mlp, parameter_dtype

ITERATIONS = 4
POSE_SIZE = 9
CameraAttend: TypeAlias = Callable[[int, int, Tensor, Tensor, Tensor], Tensor]
"""Attention over camera tokens, given iteration, block, queries, keys and values."""


class CameraHead(nn.Module):
    """Iterative pose refinement. Weights only: `attend` brings the other frames' camera tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = 2 * config.embed_dim
        self.token_norm = nn.LayerNorm(dim)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_SIZE))
        self.embed_pose = Linear(POSE_SIZE, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), Linear(dim, 3 * dim))
        self.trunk = nn.ModuleList(
            Block(dim, config.camera_num_heads) for _ in range(config.camera_trunk_depth)
        )
        self.trunk_norm = nn.LayerNorm(dim)
        self.pose_branch = Mlp(dim, dim // 2, POSE_SIZE)
        nn.init.zeros_(self.pose_branch.fc2.weight)
        # starts at the identity pose with a field of view of one radian
        nn.init.zeros_(self.pose_branch.fc2.bias)
        with torch.no_grad():
            self.pose_branch.fc2.bias[6] = 1 / ITERATIONS
            self.pose_branch.fc2.bias[7:] = 1 / ITERATIONS

    def forward(self, tokens: Tensor, attend: CameraAttend) -> Tensor:
        """Return the pose encoding (B, S, 9) for tokens (B, S, P, 2C) of the last layer."""
        return self.refinements(tokens, attend)[-1]

    def refinements(self, tokens: Tensor, attend: CameraAttend) -> list[Tensor]:
        """Return the pose encoding (B, S, 9) after each iteration; the last is the result."""
        camera = self.token_norm(tokens[:, :, 0].to(parameter_dtype(self)))
        normed = F.layer_norm(camera, camera.shape[-1:], eps=1e-6)
        pose = self.empty_pose_tokens.expand(*camera.shape[:2], -1)
        poses = []
        for iteration in range(ITERATIONS):
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(pose)).chunk(3, dim=-1)
            x = camera + gate * (normed * (1 + scale) + shift)
            for index, block in enumerate(self.trunk):
                x = block(x, attend=partial(attend, iteration, index))
            delta = self.pose_branch(self.trunk_norm(x))
            # the next refinement reads the encoding before its activation
            pose = delta if iteration == 0 else pose + delta
            poses.append(torch.cat((pose[..., :7], F.relu(pose[..., 7:])), dim=-1).float())
        return poses
