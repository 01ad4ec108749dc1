# SPDX-License-Identifier: Apache-2.0
"""Decoding of frames on a device that runs out of memory."""

import warnings

import torch
from torch import Tensor

from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.streaming.segment import Segment
from infinitevggt_core.streaming.snapshot import StreamState

LEFT_AFTER_OOM = 0.75
"""Share of the tokens kept when the device runs out of memory."""


def decode_within_memory(
    state: StreamState, segment: Segment, clip: Tensor, points: bool
) -> Prediction:
    """Decode frames that have begun in `segment`, and keep fewer tokens if memory runs out.

    Raises torch.OutOfMemoryError if too few tokens would be left. The stream can then go on without
    the frame, unless `segment` is a new one beside it.
    """
    while True:
        try:
            return segment.decode(clip, points)
        except torch.OutOfMemoryError as error:
            reason = str(error)
        # here, no traceback keeps the tensors of the frame alive
        _make_room(state, segment, reason)


def _make_room(state: StreamState, segment: Segment, reason: str) -> None:
    try:
        tokens = segment.retry(LEFT_AFTER_OOM)
    except MemoryError as error:
        if segment is state.segment:
            state.images, state.is_interrupted = None, False
        raise torch.OutOfMemoryError(reason) from error
    device = segment.model.device
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if not state.has_warned:
        state.has_warned = True
        warnings.warn(
            f"out of memory on {device}: a stream keeps {tokens} tokens from now on; a lower "
            f"total_budget or limit_mb avoids this ({reason})",
            RuntimeWarning,
            stacklevel=5,
        )
