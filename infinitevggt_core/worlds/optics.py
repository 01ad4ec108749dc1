# SPDX-License-Identifier: Apache-2.0
"""Distortion, shutter and compression of a camera, with constant parameters per world.

The depth of a pixel stays that along the optical axis, of what the pixel shows; pose and intrinsics
are those of the pinhole and of the middle of the exposure. A rectified image of a real camera
differs from its calibration by as much.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.worlds.config import WorldConfig
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.jpeg import compressed

_TAPS = 5
"""Moments of the exposure that a blurred image is the mean of."""
_BEST_QUALITY, _WORST_QUALITY = 95.0, 20.0
_EPSILON = 0.5
"""Frames before and after an image between which its angular velocity is measured."""
Poses = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Optics:
    """Parameters of one camera."""

    distortion: float
    """Radial, see `Cameras.distortion`."""
    readout: float
    """Share of the frame time from the first to the last row."""
    shutter: float
    """Share of the frame time during which a row is exposed."""
    quality: float
    """Quality of JPEG, 1 to 100; 0: not compressed."""

    @classmethod
    def of(cls, seed: int, config: WorldConfig) -> "Optics":
        rng = HashedRng(seed, "optics")
        distortion, readout = rng.uniform(-1, 1), rng.uniform()
        shutter, loss = rng.uniform(), rng.uniform()
        worst = _BEST_QUALITY - config.jpeg * (_BEST_QUALITY - _WORST_QUALITY)
        return cls(
            config.distortion * distortion,
            config.rolling_shutter * readout,
            config.turn_blur * shutter,
            _BEST_QUALITY - loss * (_BEST_QUALITY - worst) if config.jpeg else 0.0,
        )


def turn_per_frame(camera_from_world: Poses, times: Tensor) -> Tensor:
    """Return the rotation vectors (N, 3) by which a camera turns during a frame, rad, in its axes.

    camera_from_world: returns poses (N, 3, 4) at times (N,).
    """
    before = camera_from_world(times - _EPSILON)[..., :3]
    after = camera_from_world(times + _EPSILON)[..., :3]
    turn = after @ before.transpose(1, 2)
    skew = (turn - turn.transpose(1, 2)) / 2  # small angles
    return torch.stack((skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]), 1) / (2 * _EPSILON)


def blurred(light: Tensor, turn: Tensor, focal: Tensor, shutter: Tensor) -> Tensor:
    """Return linear light (F, 3, H, W) as the mean over an exposure while the camera turns.

    turn: (F, 3), rad per frame. focal: (F,), px. shutter: (F,), share of the frame time.
    """
    frames, _, height, width = light.shape
    length = focal * shutter
    shift = torch.stack((turn[:, 1] * length, -turn[:, 0] * length), 1).to(light)  # px
    shift = shift * light.new_tensor((2 / width, 2 / height))
    straight = torch.eye(2, 3, device=light.device, dtype=light.dtype).expand(frames, 2, 3)
    total = torch.zeros_like(light)
    for moment in torch.linspace(-0.5, 0.5, _TAPS).tolist():
        moved = straight.clone()
        moved[..., 2] = moment * shift
        grid = F.affine_grid(moved, list(light.shape), align_corners=False)
        total += F.grid_sample(light, grid, padding_mode="border", align_corners=False)
    return total / _TAPS


def as_stored(images: Tensor, optics: list[Optics]) -> Tensor:
    """Return images (F, 3, H, W) as after storage, with the optics of each."""
    quality = images.new_tensor([camera.quality for camera in optics])
    if not (quality > 0).any():
        return images
    lossy = compressed(images, quality.clamp(min=1))
    return torch.where((quality > 0).view(-1, 1, 1, 1), lossy, images)
