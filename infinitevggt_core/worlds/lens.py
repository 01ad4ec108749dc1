# SPDX-License-Identifier: Apache-2.0
"""Lens and image processing of an ordinary camera, with constant parameters per world.

Effects: vignetting, exposure control, colour cast, tone curve, blur or sharpening, noise that grows
in the dark, and grey images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.worlds.hashed_rng import HashedRng

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Lens:
    """Parameters of one camera."""

    vignetting: float
    """Relative loss of light in the corners."""
    mean: float
    """Target brightness of the exposure control, linear."""
    control: float
    """Share of a brightness change that the exposure control compensates."""
    cast: tuple[float, float, float]
    """Gains of red, green and blue."""
    gamma: float
    contrast: float
    """Weight of an S-shaped tone curve."""
    black: float
    """Brightness of black."""
    saturation: float
    sharpness: float
    """Positive: sharpening; negative: blur."""
    noise: float
    """Noise relative to that of the level."""

    @classmethod
    def of(cls, seed: int, strength: float) -> "Lens":
        rng = HashedRng(seed, "lens")

        def near(middle: float, low: float, high: float) -> float:
            return middle + strength * (rng.uniform(low, high) - middle)

        return cls(
            vignetting=near(0.0, 0.0, 0.5),
            mean=near(0.25, 0.1, 0.5),
            control=near(1.0, 0.5, 1.0),
            cast=(near(1.0, 0.75, 1.3), 1.0, near(1.0, 0.75, 1.3)),
            gamma=near(0.5, 0.38, 0.62),
            contrast=near(0.0, -0.1, 0.5),
            black=near(0.0, 0.0, 0.06),
            saturation=0.0 if rng.chance(0.15 * strength) else near(1.0, 0.4, 1.3),
            sharpness=near(0.0, -0.8, 0.8),
            noise=near(1.0, 0.0, 2.2),
        )


def process(light: Tensor, lenses: list[Lens], noise: Tensor, level: float) -> Tensor:
    """Convert linear light (F, 3, H, W) to images in [0, 1], with one lens per image.

    noise: (F, 3, H, W) with standard deviation 1. level: its standard deviation at mid-grey.
    """

    def each(values: list[float]) -> Tensor:
        return light.new_tensor(values).view(-1, 1, 1, 1)

    luma = light.new_tensor(_LUMA).view(1, 3, 1, 1)
    brightness = (light * luma).sum(1).mean((1, 2)).clamp(min=1e-3).view(-1, 1, 1, 1)
    target, control = each([x.mean for x in lenses]), each([x.control for x in lenses])
    gain = (target / brightness) ** control
    cast = light.new_tensor([x.cast for x in lenses]).view(-1, 3, 1, 1)
    shade = _falloff(light.shape[-2], light.shape[-1], light.device)
    light = light * (gain * cast) * (1 - each([x.vignetting for x in lenses]) * shade)
    light = _sharpened(light, each([x.sharpness for x in lenses]))
    image = light.clamp(1e-4, 1) ** each([x.gamma for x in lenses])
    strength = level * each([x.noise for x in lenses]) * (1.6 - 1.2 * image)
    image = image + strength * noise
    curve = image * image * (3 - 2 * image)
    image = torch.lerp(image, curve, each([x.contrast for x in lenses]))
    grey = (image * luma).sum(1, keepdim=True)
    image = torch.lerp(grey.expand_as(image), image, each([x.saturation for x in lenses]))
    black = each([x.black for x in lenses])
    return (black + (1 - black) * image).clamp(0, 1)


def _falloff(height: int, width: int, device: torch.device) -> Tensor:
    """Return (H, W), the squared distance from the middle, 1 in the corners."""
    y = torch.linspace(-1, 1, height, device=device)[:, None]
    x = torch.linspace(-1, 1, width, device=device)
    ratio = height / width
    return (x * x + (ratio * y) ** 2) / (1 + ratio**2)


def _sharpened(light: Tensor, amount: Tensor) -> Tensor:
    """Add (amount > 0) or remove the difference from the 3x3 mean."""
    padded = F.pad(light, (1, 1, 1, 1), mode="replicate")
    smooth = F.avg_pool2d(padded, 3, 1)
    return torch.lerp(light, smooth, -amount)
