# SPDX-License-Identifier: Apache-2.0
"""Image formation: projection, exposure, a slightly soft lens, noise."""

import torch
from torch import Tensor

from infinitevggt_core.worlds.config import WorldConfig
from infinitevggt_core.worlds.hashed_rng import key_of
from infinitevggt_core.worlds.lens import Lens, process
from infinitevggt_core.worlds.optics import Optics, as_stored
from infinitevggt_core.worlds.patterns import gaussian_table

_SOFTNESS = 0.14
"""Share of a pixel's light that the lens spreads to each neighbour. It also reduces aliasing."""


def pinhole_matrices(focal: Tensor, height: int, width: int) -> Tensor:
    """Return K (N, 3, 3) in pixels of focal lengths (N,) relative to the width, with square
    pixels."""
    matrix = focal.new_zeros(len(focal), 3, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = focal * width
    matrix[:, 0, 2] = width / 2
    matrix[:, 1, 2] = height / 2
    matrix[:, 2, 2] = 1
    return matrix


def develop(
    linear: Tensor, exposure: Tensor, seeds: list[int], times: Tensor, config: WorldConfig
) -> Tensor:
    """Convert linear light (F, 3, H, W) to images in [0, 1].

    exposure, times: (F,).
    """
    gain = exposure.to(linear).reshape(-1, 1, 1, 1)
    light = _softened(linear * gain, 2)
    light = _softened(light, 3)
    image = _exposed(light, seeds, times, config)
    return as_stored(image, [Optics.of(seed, config) for seed in seeds]) if config.jpeg else image


def _exposed(light: Tensor, seeds: list[int], times: Tensor, config: WorldConfig) -> Tensor:
    if config.lens:
        lenses = [Lens.of(seed, config.lens) for seed in seeds]
        return process(light, lenses, _noise(light, seeds, times), config.sensor_noise)
    image = light.clamp(min=0).sqrt()  # close to sRGB, and the same on every machine
    if config.sensor_noise:
        image = image + config.sensor_noise * _noise(image, seeds, times)
    return image.clamp(0, 1)


def _softened(light: Tensor, axis: int) -> Tensor:
    size = light.shape[axis]
    before = torch.cat((light.narrow(axis, 0, 1), light.narrow(axis, 0, size - 1)), axis)
    after = torch.cat((light.narrow(axis, 1, size - 1), light.narrow(axis, size - 1, 1)), axis)
    return (1 - 2 * _SOFTNESS) * light + _SOFTNESS * (before + after)


def _noise(image: Tensor, seeds: list[int], times: Tensor) -> Tensor:
    """Return Gaussian noise that depends on a frame's seed and time, not on its chunk."""
    table = gaussian_table(str(image.device))
    size = image[0].numel()
    starts = [
        key_of(seed, "noise", round(time * 1024)) % len(table)
        for seed, time in zip(seeds, times.tolist(), strict=True)
    ]
    steps = torch.arange(size, device=image.device)
    rows = [table[(steps + start) % len(table)] for start in starts]
    return torch.stack(rows).reshape(image.shape)
