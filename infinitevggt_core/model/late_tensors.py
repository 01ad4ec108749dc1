# SPDX-License-Identifier: Apache-2.0
"""Asynchronous copies of tensors from and to the host."""

import torch
from torch import Tensor

from infinitevggt_core.model.prediction import Prediction


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device. One in pageable memory is copied while the host goes on; its
    owner may change it then."""
    if device.type != "cuda" or tensor.is_cuda or tensor.is_pinned():
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class LateTensors:
    """Tensors of one device on their way to the host. The copy follows the work that the device
    was given before, and does not wait for what it is given later."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = {name: _on_its_way(tensor) for name, tensor in tensors.items()}
        on_device = [tensor for tensor in tensors.values() if tensor.is_cuda]
        self._arrived: torch.cuda.Event | None = None
        if on_device:
            self._arrived = torch.cuda.current_stream(on_device[0].device).record_event()

    def read(self) -> dict[str, Tensor]:
        """Return the tensors on the host; wait if they have not arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensors


class LatePrediction:
    """Prediction on its way to the host."""

    def __init__(self, prediction: Prediction) -> None:
        self._tensors = LateTensors(prediction.tensors())

    def read(self) -> Prediction:
        """Return the prediction on the host; wait if it has not arrived."""
        return Prediction(**self._tensors.read())


def _on_its_way(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        return tensor
    pinned = torch.empty_like(tensor, device="cpu", pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
