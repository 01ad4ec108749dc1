# SPDX-License-Identifier: Apache-2.0
"""Asynchronous device-to-host copy of per-layer scalars."""

import torch
from torch import Tensor


class LateValues:
    """Scalar tensors by layer, on their way to the host."""

    def __init__(self, values: dict[int, Tensor]) -> None:
        self._layers = list(values)
        self._values = torch.stack(list(values.values()))
        device = self._values.device
        self._arrived: torch.cuda.Event | None = None
        if self._values.is_cuda:
            pinned = torch.empty_like(self._values, device="cpu", pin_memory=True)
            self._values = pinned.copy_(self._values, non_blocking=True)
            self._arrived = torch.cuda.current_stream(device).record_event()

    def read(self) -> dict[int, float]:
        """Return the numbers by layer; wait if they have not arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return dict(zip(self._layers, self._values.tolist(), strict=True))
