# SPDX-License-Identifier: Apache-2.0
"""Baseline of benchmarks.stream: InfiniteVGGT as its paper describes it, without optimisation.

Keys and values of each layer are concatenated with the new ones. All candidates are normalised,
scored and sorted, and those to keep are gathered into a new tensor. The host waits for the
similarity of each layer. Keys stay in fp32, and the camera head's memory grows without bound. Two
parts are ours, so that the results can be the same: the allocation of the budget, without which
small budgets fail, and one camera memory per refinement. Products and attention are PyTorch's own
choice, as in the research code.
"""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core import VGGT, Prediction
from infinitevggt_core.memory import allocate_budget
from infinitevggt_core.model import kernels


class NaiveSession:
    """One stream with one anchor frame, with the results of a StreamSession of policy diversity."""

    def __init__(
        self, model: VGGT, total_budget: int, *, points: bool, our_kernels: bool = False
    ) -> None:
        """our_kernels: use them for products and attention, so that only the memory differs."""
        self.model, self.total_budget, self.points = model, total_budget, points
        self.our_kernels = our_kernels
        layers = model.config.depth
        self.similarities = [0.0] * layers
        self._budgets: list[int] = []
        self._anchor_tokens = 0
        self._tokens: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._camera_tokens: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    @property
    def memory_bytes(self) -> int:
        held = [*self._tokens, *self._camera_tokens.values()]
        return sum(x.nbytes for pair in held if pair is not None for x in pair)

    @torch.no_grad()
    def push(self, image: Tensor) -> Prediction:
        """Decode the next frame, [3, H, W] float in [0, 1]."""
        with nullcontext() if self.our_kernels else kernels.plain():
            return self._predict(image)

    def _predict(self, image: Tensor) -> Prediction:
        model, size = self.model, (image.shape[-2], image.shape[-1])
        starts = not self._anchor_tokens
        self._anchor_tokens = model.aggregator.tokens_per_frame(*size)
        floor = 2 * self._anchor_tokens
        self._budgets = allocate_budget(self.total_budget, self.similarities, floor)
        features = model.aggregator(
            image.to(model.device)[None, None], self.attend, model.feature_layers, int(starts)
        )
        pose = model.camera_head(features[model.config.depth - 1], self.attend_camera)
        depth, depth_confidence = model.depth_head(features, size)
        point_maps = model.point_head(features, size) if self.points else ()
        maps = (pose, depth[..., 0], depth_confidence, *point_maps)
        return Prediction(*(frames[:, 0] for frames in maps))

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = self.concatenate(self._tokens[layer], k.float(), v)
        if keys.shape[2] > self._budgets[layer]:
            keys, values = self.evict(layer, keys, values)
        self._tokens[layer] = keys, values
        return self.attention(q, keys, values)

    def attend_camera(self, iteration: int, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        place = iteration, block
        self._camera_tokens[place] = self.concatenate(self._camera_tokens.get(place), k, v)
        return self.attention(q, *self._camera_tokens[place])

    def concatenate(
        self, past: tuple[Tensor, Tensor] | None, k: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        if past is None:
            return k, v
        return torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)

    def evict(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the anchors and, per head, the keys least similar to the mean key."""
        anchors = self._anchor_tokens
        unit = F.normalize(keys[:, :, anchors:], dim=-1)
        scores = (unit * unit.mean(dim=2, keepdim=True)).sum(dim=-1)  # (B, H, candidates)
        kept = scores.topk(self._budgets[layer] - anchors, largest=False).indices
        kept = kept.sort(dim=-1).values
        rows = anchors + kept[..., None].expand(-1, -1, -1, keys.shape[-1])
        self.similarities[layer] = scores.mean().item()
        return (
            torch.cat((keys[:, :, :anchors], keys.gather(2, rows)), dim=2),
            torch.cat((values[:, :, :anchors], values.gather(2, rows)), dim=2),
        )

    def attention(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return kernels.attention(q, keys.to(q.dtype), values)
