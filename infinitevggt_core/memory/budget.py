# SPDX-License-Identifier: Apache-2.0
"""How many tokens each global layer may keep (paper section 3.3, model_spec.md section 4)."""

import torch

TEMPERATURE = 0.5


def split_budget(total: int, scores: list[float], floor: int) -> list[int]:
    """Tokens per layer: softmax((1 - score) / 0.5) of `total`, and never below `floor`.

    scores: mean cosine similarity of each layer's keys with their mean key, in [0, 1]. A layer
    whose keys are alike needs few of them. Raises ValueError when total < layers * floor.
    """
    if total < len(scores) * floor:
        raise ValueError(f"{total} tokens cannot give {len(scores)} layers {floor} tokens each")
    logits = (1 - torch.tensor(scores, dtype=torch.float32)) / TEMPERATURE
    raised: set[int] = set()  # layers whose share of the rest is below the floor
    while True:
        free = [layer for layer in range(len(scores)) if layer not in raised]
        left = total - floor * len(raised)
        shares = (torch.softmax(logits[free], dim=0) * left).long().tolist()
        excess = max(0, sum(shares) - left)  # fp32, as released: it rounds up now and then
        shares[shares.index(max(shares))] -= excess
        short = {layer for layer, share in zip(free, shares, strict=True) if share < floor}
        if not short or len(short) == len(free):
            budgets = dict.fromkeys(range(len(scores)), floor)
            if not short:
                budgets |= dict(zip(free, shares, strict=True))
            return [budgets[layer] for layer in range(len(scores))]
        raised |= short
