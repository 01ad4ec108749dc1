# SPDX-License-Identifier: Apache-2.0
"""Trajectory of a camera along its route: poses at any time, each at the same cost."""

from dataclasses import dataclass
from math import pi, tan

import torch
from torch import Tensor

from infinitevggt_core.worlds.close_up import CloseUp
from infinitevggt_core.worlds.config import MOTIONS, WorldConfig
from infinitevggt_core.worlds.hashed_rng import HashedRng, key_of, smooth_noise
from infinitevggt_core.worlds.roadmap import Roadmap
from infinitevggt_core.worlds.route import Route

_TREMOR_FRAMES = 5.0
_START_M = 0.2
"""Path length at frame 0, so that earlier times exist for the shutter and for speeds."""
_PACE = 0.35
"""Relative change of speed."""
_DEG = pi / 180


@dataclass(frozen=True, slots=True)
class Gait:
    """Motion of a carrier; angles in degrees, lengths in metres."""

    height: tuple[float, float]
    """Minimum and maximum mean height."""
    lift: float
    """Amplitude of height changes."""
    yaw: float
    pitch: float
    mean_pitch: float
    """Positive is down."""
    roll: float
    tremor: float
    shift: float
    """Sideways and up, with the tremor."""
    speed: float
    turn: float
    """Distance over which turns are spread, relative."""


GAITS = {
    "handheld": Gait((1.35, 1.65), 0.06, 40, 11, 6, 5, 0.5, 0.012, 1.0, 1.0),
    "drone": Gait((1.15, 1.3), 0.45, 45, 12, 8, 6, 0.15, 0.006, 1.2, 1.0),
    "wheeled": Gait((0.4, 0.8), 0.0, 3, 1.0, -1, 0.5, 0.12, 0.003, 0.9, 0.6),
    "loop": Gait((1.3, 1.6), 0.05, 30, 10, 6, 4, 0.4, 0.01, 1.0, 0.9),
}


class Trajectory:
    """Poses of a camera. Time is counted in frames and may be fractional."""

    def __init__(
        self, seed: int, config: WorldConfig, roadmap: Roadmap, close_up: CloseUp | None = None
    ) -> None:
        """close_up: used instead of a walk over the roadmap."""
        self._close_up = close_up
        rng = HashedRng(seed, "trajectory")
        drawn = rng.choice(MOTIONS[1:])
        self.motion = drawn if config.motion == "any" else config.motion
        self.gait = GAITS[self.motion]
        self.mount_height_m = rng.uniform(*self.gait.height)
        self.route = Route(
            roadmap,
            HashedRng(seed, "route", self.motion),
            turn_m=config.turn_m * self.gait.turn,
            most_turn=config.turn_deg_per_m * _DEG,
            loop=self.motion == "loop",
        )
        self._step_m = config.step_m * self.gait.speed
        self._config = config
        self._key = key_of(seed, "sway")
        middle = rng.uniform(config.fov_low_deg, config.fov_high_deg) * _DEG
        self._focal = 0.5 / tan(middle / 2)

    def world_from_body(self, times: Tensor) -> Tensor:
        """Return float64 poses (N, 3, 4) of the camera body: x forward, y left, z up, metres."""
        times = times.double().cpu()
        if self._close_up is not None:
            position, yaw, pitch, roll = self._close_up.at(times, self._config.sway)
            return torch.cat((_rotation(yaw, pitch, roll), position[..., None]), dim=-1)
        way_m = self._way(times)
        place, heading = self.route.at(way_m)
        gait, sway = self.gait, self._config.sway

        def slow(name: str, period_m: float) -> Tensor:
            return smooth_noise(key_of(self._key, name), way_m / period_m)

        def tremor(name: str) -> Tensor:
            return sway * smooth_noise(key_of(self._key, name), times / _TREMOR_FRAMES)

        calm = min(1.0, 0.5 + 0.5 * sway)
        yaw = heading + (calm * gait.yaw * slow("yaw", 1.6) + gait.tremor * tremor("yaw2")) * _DEG
        pitch = gait.mean_pitch + calm * gait.pitch * slow("pitch", 1.3)
        pitch = (pitch + gait.tremor * tremor("pitch2")) * _DEG
        roll = (calm * gait.roll * slow("roll", 1.1) + gait.tremor * tremor("roll2")) * _DEG
        height = self.mount_height_m + gait.lift * slow("height", 1.8)
        moved = [gait.shift * tremor(name) for name in ("x", "y", "z")]
        position = torch.stack(
            (place[:, 0] + moved[0], place[:, 1] + moved[1], height + moved[2]), dim=-1
        )
        return torch.cat((_rotation(yaw, pitch, roll), position[..., None]), dim=-1)

    def camera_from_world(self, times: Tensor) -> Tensor:
        """Return float64 (N, 3, 4) in OpenCV axes: right is the body's -y, down its -z, forward
        its x."""
        body = self.world_from_body(times)
        forward, left, up, position = body.unbind(-1)
        rotation = torch.stack((-left, -up, forward), dim=-2)
        return torch.cat((rotation, -rotation @ position[..., None]), dim=-1)

    def focal(self, times: Tensor) -> Tensor:
        """Return the focal length (N,) relative to the image width."""
        breath = smooth_noise(key_of(self._key, "zoom"), times.double().cpu() / 40)
        return self._focal * (1 + self._config.zoom * breath)

    def exposure(self, times: Tensor) -> Tensor:
        """Return the gain (N,) of the camera."""
        noise = smooth_noise(key_of(self._key, "exposure"), times.double().cpu() / 25)
        return 1 + self._config.exposure_change * noise

    def light(self, times: Tensor) -> Tensor:
        """Return the brightness (N,) of the lamps."""
        noise = smooth_noise(key_of(self._key, "light"), times.double().cpu() / 15)
        return 1 + self._config.light_change * noise

    def _way(self, times: Tensor) -> Tensor:
        """Return the path length in metres."""
        period = 40.0
        paced = times + _PACE * period * (
            smooth_noise(key_of(self._key, "pace"), times / period)
            - smooth_noise(key_of(self._key, "pace"), torch.zeros_like(times))
        )
        return (_START_M + self._step_m * paced).clamp(min=0)


def _rotation(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Return Rz(yaw) Ry(pitch) Rx(roll), (N, 3, 3)."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (torch.cos, torch.sin))
    rows = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
