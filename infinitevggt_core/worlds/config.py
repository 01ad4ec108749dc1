# SPDX-License-Identifier: Apache-2.0
"""Settings of a synthetic world and the definition of its levels."""

from dataclasses import dataclass
from typing import Any

from infinitevggt_core.config import check_options, option

LEVELS = ("easy", "standard", "hard", "real", "street")
MOTIONS = ("any", "handheld", "drone", "wheeled", "loop")


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Difficulty of a world. Use `WorldConfig.of(level)` to create one."""

    level: str = option("standard", "level from which the other settings are taken", choices=LEVELS)
    motion: str = option("any", "carrier of the camera; any: drawn from the seed", choices=MOTIONS)
    most_rooms: int = option(10, "maximum number of rooms and corridors", low=1, high=40)
    furniture: float = option(1.0, "amount of furniture, relative", low=0, high=2)
    step_m: float = option(0.045, "mean distance per frame", unit="m", low=0.001, high=0.2)
    turn_m: float = option(
        1.8, "distance over which a change of heading is spread", unit="m", low=0.6, high=6
    )
    turn_deg_per_m: float = option(
        50.0, "maximum change of heading; sharper ones take longer", unit="deg/m", low=5, high=500
    )
    sway: float = option(1.0, "amplitude of camera shake, relative", low=0, high=3)
    texture: float = option(1.0, "contrast of textures, relative", low=0, high=1.5)
    moving_objects: int = option(0, "number of moving objects in each room", low=0, high=5)
    exposure_change: float = option(
        0.12, "amplitude of slow exposure changes, relative", low=0, high=0.8
    )
    light_change: float = option(
        0.0, "amplitude of lamp brightness changes, relative", low=0, high=0.9
    )
    motion_blur: float = option(
        0.0, "share of the frame time during which the shutter is open", low=0, high=1
    )
    sensor_noise: float = option(0.008, "standard deviation of noise at mid-grey", low=0, high=0.2)
    fov_low_deg: float = option(
        58.0, "minimum horizontal field of view", unit="deg", low=20, high=120
    )
    fov_high_deg: float = option(
        88.0, "maximum horizontal field of view", unit="deg", low=20, high=120
    )
    zoom: float = option(0.0, "amplitude of focal length changes, relative", low=0, high=0.3)
    samples: int = option(
        1, "rays per pixel and sub-frame: 1, 3 or 5; depth is always that of the centre",
        choices=(1, 3, 5),  # type: ignore[arg-type]
    )  # fmt: skip

    outdoor: bool = option(False, "a street under an open sky in place of rooms")
    everyday: bool = option(
        False, "use office and kitchen furniture with objects on it, in plain materials"
    )
    busy: float = option(
        0.0, "share of materials with a pattern of random size and contrast",
        low=0, high=1,
    )  # fmt: skip
    tones: float = option(
        0.0, "share of materials with a random brightness",
        low=0, high=1,
    )  # fmt: skip
    lamp_spread: float = option(
        0.0, "share of rooms with a lamp at a random position", low=0, high=1
    )
    shadows: float = option(
        0.0, "darkness of shadows in worlds of one room, relative; 0: no shadows", low=0, high=1
    )
    close_up: float = option(
        0.0,
        "share of worlds with a camera near a piece of furniture, for motion any",
        low=0,
        high=1,
    )
    lens: float = option(
        0.0, "strength of vignetting, colour cast, tone curve and exposure control", low=0, high=1
    )

    distortion: float = option(
        0.0, "maximum radial distortion that is left in the images", low=0, high=0.2
    )
    rolling_shutter: float = option(
        0.0, "maximum share of the frame time during which rows are read", low=0, high=1
    )
    turn_blur: float = option(
        0.0, "as motion_blur, of rotation only and faster to render: the maximum", low=0, high=1
    )
    jpeg: float = option(0.0, "maximum loss of JPEG compression", low=0, high=1)
    gloss: float = option(0.0, "share of furniture with highlights of the lamp", low=0, high=1)

    def __post_init__(self) -> None:
        check_options(self)
        if self.fov_low_deg > self.fov_high_deg:
            raise ValueError("fov_low_deg must not exceed fov_high_deg")

    @classmethod
    def of(cls, level: str = "standard", **changes: Any) -> "WorldConfig":
        """Return the settings of a level, with some of them changed."""
        if level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}; got {level!r}")
        return cls(**{"level": level, **_OF_LEVEL[level], **changes})


_OF_LEVEL: dict[str, dict[str, Any]] = {
    "easy": {
        "most_rooms": 1,
        "step_m": 0.008,
        "sway": 0.5,
        "exposure_change": 0.0,
        "sensor_noise": 0.0,
        "fov_low_deg": 65.0,
        "fov_high_deg": 80.0,
    },
    "standard": {},
    "hard": {
        "step_m": 0.08,
        "sway": 1.8,
        "texture": 0.45,
        "moving_objects": 2,
        "exposure_change": 0.3,
        "light_change": 0.4,
        "motion_blur": 0.5,
        "sensor_noise": 0.025,
        "fov_low_deg": 48.0,
        "fov_high_deg": 100.0,
        "zoom": 0.06,
    },
    "real": {
        "most_rooms": 3,
        "step_m": 0.02,
        "sway": 1.2,
        "sensor_noise": 0.01,
        "exposure_change": 0.2,
        "fov_low_deg": 45.0,
        "fov_high_deg": 110.0,
        "everyday": True,
        "busy": 0.5,
        "tones": 0.6,
        "lamp_spread": 0.7,
        "shadows": 1.0,
        "close_up": 0.75,
        "lens": 1.0,
    },
    "street": {
        "outdoor": True,
        "most_rooms": 1,
        "step_m": 0.15,
        "turn_m": 4.0,
        "turn_deg_per_m": 25.0,
        "sway": 0.7,
        "sensor_noise": 0.01,
        "exposure_change": 0.2,
        "fov_low_deg": 45.0,
        "fov_high_deg": 110.0,
        "shadows": 1.0,
        "lens": 1.0,
        "gloss": 0.1,
    },
}
