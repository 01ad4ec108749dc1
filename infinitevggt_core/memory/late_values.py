# SPDX-License-Identifier: Apache-2.0
"""Asynchronous device-to-host copy of per-layer scalars."""

import torch
from torch import Tensor

from infinitevggt_core.model.late_tensors import LateTensors

VALUES = "values"


class LateValues:
    """Scalar tensors by layer, on their way to the host."""

    def __init__(self, values: dict[int, Tensor]) -> None:
        self._layers = list(values)
        self._values = LateTensors({VALUES: torch.stack(list(values.values()))})

    def read(self) -> dict[int, float]:
        """Return the numbers by layer; wait if they have not arrived."""
        values = self._values.read()[VALUES].tolist()
        return dict(zip(self._layers, values, strict=True))
