# SPDX-License-Identifier: Apache-2.0
"""A dense signal for the global attention: look at where you were in an earlier image.

Matching patches between frames is what relative pose is made of, and what a network trained from
scratch finds last. Half of the heads of each global layer but the first are told: the share of
attention that a patch pays to the patches of the reference, an earlier frame, shall be that of the
four patches around the place where its middle was, by bilinear weights. There is nothing to drop
afterwards.
"""

import torch
from einops import rearrange
from torch import Tensor

from infinitevggt_core.model.rope import SPECIAL_TOKENS
from infinitevggt_core.training.patch_tracks import middles, patch_shifts
from infinitevggt_core.training.targets import Targets

LEAST_SEEN = 0.5
"""Share of the four patches around the place that must lie in the reference."""


def match_scores(q: Tensor, k: Tensor, frames: int, reference: int = 0) -> Tensor:
    """Queries and keys (B, heads, S P, d) of a global layer -> logits (B, heads / 2, later frames,
    N, N): patches of the frames after the reference, patches of the reference."""
    heads = max(1, q.shape[1] // 2)
    tokens = q.shape[2] // frames
    by_frame = rearrange(q[:, :heads], "b h (s p) d -> b h s p d", p=tokens)
    queries = by_frame[:, :, reference + 1 :, SPECIAL_TOKENS:].float()
    first = reference * tokens
    keys = k[:, :heads, None, first + SPECIAL_TOKENS : first + tokens].float()
    scores: Tensor = queries @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores


def matching_loss(
    scores: tuple[Tensor, ...], targets: Targets, patch_size: int, reference: int = 0
) -> Tensor:
    """Divergence (nats) of the attention from the wanted one; mean over layers, heads, patches."""
    wanted, known = wanted_matches(targets, patch_size, reference)
    entropy = -torch.special.xlogy(wanted, wanted).sum(-1)
    count = known.sum().clamp(min=1)
    losses = []
    for layer in scores:
        cross = -(wanted[:, None] * layer.log_softmax(-1)).sum(-1).mean(1)
        losses.append(((cross - entropy) * known).sum() / count)
    return torch.stack(losses).mean()


def wanted_matches(targets: Targets, patch_size: int, reference: int = 0) -> tuple[Tensor, Tensor]:
    """Shares (B, later frames, N, N) of the reference's patches, and for which patches (B, later
    frames, N) they are known."""
    width = targets.depth.shape[-1]
    rows, cols = (side // patch_size for side in targets.depth.shape[-2:])
    shifts, known = patch_shifts(targets, patch_size, reference)
    middle = middles(rows, cols, patch_size, shifts).flatten(0, 1)
    places = middle - width * shifts[:, reference + 1 :]
    distance = (places[..., :, None, :] - middle).abs() / patch_size
    weights = (1 - distance).clamp(min=0).prod(-1)
    seen = weights.sum(-1)
    return weights / seen.clamp(min=1e-6)[..., None], known[:, reference + 1 :] & (
        seen > LEAST_SEEN
    )
