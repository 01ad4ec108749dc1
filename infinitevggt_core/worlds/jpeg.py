# SPDX-License-Identifier: Apache-2.0
"""Loss of JPEG compression: 8x8 cosine transform and quantisation, on the device of the images.

The quantisation tables are those of ITU-T T.81, annex K. Colour is not subsampled.
"""

from functools import lru_cache
from math import cos, pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE = 8
_LUMA_STEPS = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_COLOR_STEPS = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)  # fmt: skip
_YCC = ((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """Return images (F, 3, H, W) in [0, 1] as after JPEG of `quality` (F,), 1 to 100."""
    height, width = images.shape[-2:]
    mix, transform, steps = (part.to(images) for part in _tables())
    padded = F.pad(images, (0, -width % _SIDE, 0, -height % _SIDE), mode="replicate")
    colors = torch.einsum("ck,fkhw->fchw", mix, padded) * 255
    rows, columns = (size // _SIDE for size in colors.shape[-2:])
    blocks = colors.reshape(-1, 3, rows, _SIDE, columns, _SIDE).transpose(3, 4)
    waves = blocks.reshape(-1, 3, rows * columns, _SIDE**2) @ transform.T
    waves[:, 0, :, 0] -= 128 * _SIDE  # a grey of 128 is zero
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).to(images) / 100
    step = (percent.view(-1, 1, 1, 1) * steps[:, None]).round().clamp(1, 255)
    waves = (waves / step).round() * step
    waves[:, 0, :, 0] += 128 * _SIDE
    blocks = (waves @ transform).reshape(-1, 3, rows, columns, _SIDE, _SIDE)
    colors = blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3) / 255
    decoded = torch.einsum("ck,fkhw->fchw", torch.linalg.inv(mix), colors)
    return decoded[..., :height, :width].clamp(0, 1)


@lru_cache(maxsize=1)
def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Return colour matrix (3, 3), cosine transform of a block (64, 64) and quantisation steps
    (3, 64)."""
    rows = [
        [cos((2 * n + 1) * k * pi / (2 * _SIDE)) * (sqrt(2) if k else 1) for n in range(_SIDE)]
        for k in range(_SIDE)
    ]
    steps = [_LUMA_STEPS, _COLOR_STEPS, _COLOR_STEPS]
    line = torch.tensor(rows) / sqrt(_SIDE)
    return torch.tensor(_YCC), torch.kron(line, line), torch.tensor(steps, dtype=torch.float32)
