# SPDX-License-Identifier: Apache-2.0
"""Mean key of each stored frame."""

import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.memory.stored_tokens import StoredTokens


class FrameMeans:
    """Mean keys of the frames of all layers, kept from one eviction to the next: keys do not
    change, so that only new frames are averaged."""

    def __init__(self) -> None:
        # of the frames kept at the last eviction, at one place in memory as long as their number
        # stays, so that a graph of one frame holds for the next
        self._means: Tensor | None = None  # (layers, heads, frames, head_dim)
        self._frames: Tensor | None = None  # (layers, frames)
        # of these and the new ones, until some are evicted
        self._all_means: Tensor | None = None
        self._all_frames: Tensor | None = None

    @property
    def layout(self) -> object:
        """Place of the means in memory, and their shape."""
        return None if self._means is None else (self._means.data_ptr(), self._means.shape)

    def reset(self) -> None:
        """Average all frames anew the next time."""
        self._means = self._frames = self._all_means = self._all_frames = None

    def update(self, tokens: StoredTokens, tokens_per_frame: int) -> Tensor:
        """Return the means (layers, heads, frames, head_dim) fp32 of all frames.

        tokens: of all layers, whole frames one after another, those that arrived since `keep` at
        the end.
        """
        frames = tokens.frames[:, 0, ::tokens_per_frame]
        known = 0 if self._frames is None else self._frames.shape[1]
        if self._means is None or known >= frames.shape[1]:
            means = mean_keys(tokens, tokens_per_frame)
        else:
            new = mean_keys(tokens.after(known * tokens_per_frame), tokens_per_frame)
            means = torch.cat((self._means, new), dim=2)
        self._all_means, self._all_frames = means, frames.clone()
        return means

    def keep(self, frames: Tensor) -> None:
        """Keep the means of these frames, (layers, frames), in this order."""
        means, known = self._all_means, self._all_frames
        if means is None or known is None:
            return
        places = (frames[:, :, None] == known[:, None]).to(torch.uint8).argmax(dim=-1)
        shape = (*means.shape[:2], frames.shape[1], means.shape[3])
        if self._means is None or self._frames is None or self._means.shape != shape:
            with torch.inference_mode(False):  # as the store
                self._means, self._frames = means.new_empty(shape), torch.empty_like(frames)
        torch.gather(means, 2, places[:, None, :, None].expand(shape), out=self._means)
        self._frames.copy_(frames)
        self._all_means = self._all_frames = None


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
