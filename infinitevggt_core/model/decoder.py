# SPDX-License-Identifier: Apache-2.0
"""Interface of what decodes frames: the network, or an engine that runs it."""

from typing import Protocol

from torch import Tensor

from infinitevggt_core.model.attention import Context
from infinitevggt_core.model.prediction import Prediction


class Decoder(Protocol):
    """The network, or an engine that runs it."""

    def decode(self, images: Tensor, context: Context, *, points: bool = False) -> Prediction:
        """Decode frames (B, S, 3, H, W) that see the frames of `context`."""
