# SPDX-License-Identifier: Apache-2.0
"""Mean key of each stored frame."""

import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.memory.token_store import StoredTokens


class FrameMeans:
    """Mean keys of the frames of all layers, kept from one eviction to the next: keys do not
    change, so that only new frames are averaged."""

    def __init__(self) -> None:
        self._means: Tensor | None = None  # (layers, heads, frames, head_dim)
        self._frames: Tensor | None = None  # (layers, frames)

    def reset(self) -> None:
        """Average all frames anew the next time."""
        self._means = self._frames = None

    def update(self, tokens: StoredTokens, tokens_per_frame: int) -> Tensor:
        """Return the means (layers, heads, frames, head_dim) fp32 of all frames.

        tokens: of all layers, whole frames one after another, those that arrived since `keep` at
        the end.
        """
        frames = tokens.frames[:, 0, ::tokens_per_frame]
        known = 0 if self._frames is None else self._frames.shape[1]
        if self._means is None or known >= frames.shape[1]:
            self._means = mean_keys(tokens, tokens_per_frame)
        else:
            new = mean_keys(tokens.after(known * tokens_per_frame), tokens_per_frame)
            self._means = torch.cat((self._means, new), dim=2)
        self._frames = frames.clone()
        return self._means

    def keep(self, frames: Tensor) -> None:
        """Keep the means of these frames, (layers, frames), in this order."""
        if self._means is None or self._frames is None:
            return
        places = (frames[:, :, None] == self._frames[:, None]).to(torch.uint8).argmax(dim=-1)
        heads, dim = self._means.shape[1], self._means.shape[3]
        index = places[:, None, :, None].expand(-1, heads, -1, dim)
        self._means, self._frames = self._means.gather(2, index), frames.clone()


def mean_keys(tokens: StoredTokens, tokens_per_frame: int) -> Tensor:
    """Return (batch, heads, blocks, head_dim) fp32: the means of keys that follow one another, so
    many at a time. What is missing of the last block counts as zeros."""
    parts = [_block_means(keys, tokens_per_frame) for keys in tokens.keys_by_layer()]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _block_means(keys: Tensor, size: int) -> Tensor:
    missing = -keys.shape[2] % size
    whole = F.pad(keys, (0, 0, 0, missing)) if missing else keys
    means: Tensor = torch.unflatten(whole, 2, (-1, size)).mean(dim=3, dtype=torch.float32)
    return means
