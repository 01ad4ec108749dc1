# SPDX-License-Identifier: Apache-2.0
"""The settings of the core: frozen, checked when they are made, each default written once, here.

A field's `metadata` carries what a user interface shows: `text`, `unit`, `low`, `high`, `choices`.
The ROS node declares its parameters by walking these fields.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

DINOV2_WIDTHS = {
    "dinov2_vits14_reg": 384,
    "dinov2_vitb14_reg": 768,
    "dinov2_vitl14_reg": 1024,
    "dinov2_vitg2_reg": 1536,
}
UNLIMITED = 1_000_000_000_000
"""Upper end of token counts: a budget this large is never reached."""


def option(
    default: Any,
    text: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Collection[str] = (),
) -> Any:
    """A dataclass field with its description, unit, inclusive range and choices."""
    metadata = {"text": text, "unit": unit, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


class Options:
    """Settings that are checked when they are made: the base of a dataclass of options."""

    __slots__ = ()

    def __post_init__(self) -> None:
        check_options(self)


def check_options(settings: Any) -> None:
    """Raise ValueError naming the first field outside its range or choices."""
    for name, spec in settings.__dataclass_fields__.items():
        value, limits = getattr(settings, name), spec.metadata
        if limits.get("choices") and value not in limits["choices"]:
            raise ValueError(f"{name} must be one of {', '.join(limits['choices'])}; got {value!r}")
        low, high = limits.get("low"), limits.get("high")
        if low is not None and not all(_lies_in(low, high, x) for x in _numbers(name, value)):
            raise ValueError(f"{name} must lie in [{low}, {high}]; got {value}")


def _numbers(name: str, value: Any) -> tuple[Any, ...]:
    """Of an option that may have several. Raises ValueError for what is none."""
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError(f"{name} must be a number; got {value!r}")
    return numbers


def _lies_in(low: float, high: float | None, number: float) -> bool:
    return bool(number >= low and (high is None or number <= high))


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of the network (model_spec.md sections 2 to 7); by default, the published model's."""

    img_size: int = 518
    patch_size: int = 14
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    patch_embed: str = "dinov2_vitl14_reg"
    camera_trunk_depth: int = 4
    camera_num_heads: int = 16
    dpt_features: int = 256
    dpt_out_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    dpt_layers: tuple[int, ...] = (4, 11, 17, 23)
    track: bool = False
    track_features: int = 128
    track_hidden: int = 384

    def __post_init__(self) -> None:
        for name in ("dpt_out_channels", "dpt_layers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._require(
            self.img_size % self.patch_size == 0, "img_size must be a multiple of patch_size"
        )
        self._require(
            self.embed_dim % self.num_heads == 0 and self.embed_dim // self.num_heads % 4 == 0,
            "embed_dim / num_heads must be a multiple of 4 (2-D rotary embedding)",
        )
        self._require(
            2 * self.embed_dim % self.camera_num_heads == 0,
            "2 * embed_dim must be a multiple of camera_num_heads",
        )
        self._require(
            "conv" in self.patch_embed or DINOV2_WIDTHS.get(self.patch_embed) == self.embed_dim,
            f"patch_embed must be 'conv' or the DINOv2 of width embed_dim, one of {DINOV2_WIDTHS}",
        )
        self._require(
            len(self.dpt_layers) == len(self.dpt_out_channels) == 4
            and all(0 <= layer < self.depth for layer in self.dpt_layers),
            "dpt_layers and dpt_out_channels need four entries, layers below depth",
        )
        self._require(
            all(channels % 4 == 0 for channels in (*self.dpt_out_channels, self.dpt_features // 2)),
            "dpt_out_channels and dpt_features / 2 must be multiples of 4 (positional maps)",
        )

    def _require(self, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{rule}; got {self}")

    @classmethod
    def tiny(cls) -> "ModelConfig":
        """The small network that runs live on two CPU cores: 15 MB at most in half precision."""
        return cls(
            img_size=112,
            embed_dim=144,
            depth=6,
            num_heads=4,
            patch_embed="conv",
            camera_trunk_depth=2,
            camera_num_heads=4,
            dpt_features=48,
            dpt_out_channels=(32, 64, 128, 128),
            dpt_layers=(1, 3, 4, 5),
        )


@dataclass(frozen=True, slots=True)
class MapConfig(Options):
    """The fused point map. Lengths are in the stream's own unit (no metric scale is known)."""

    voxel_size: float = option(
        0.02,
        "points closer than this are averaged into one; another size starts an empty map",
        unit="stream unit",
        low=1e-4,
        high=10.0,
    )
    max_points: int = option(
        1_000_000,
        "most points kept, the longest unseen go first; another number starts an empty map",
        unit="points",
        low=1,
        high=20_000_000,
    )
    min_confidence: float = option(
        1.0, "depth confidence a point needs to enter the map", low=1.0, high=1000.0
    )
    keep_fraction: float = option(
        0.7,
        "most confident share of each frame's points that may enter the map",
        low=0.01,
        high=1.0,
    )
    pixel_stride: int = option(
        2, "every n-th pixel in both directions is used", unit="px", low=1, high=64
    )
    max_range: float = option(
        0.0,
        "points further than this from the camera stay out; 0: none",
        unit="stream unit",
        low=0.0,
        high=1e6,
    )
    sky_ratio: float = option(
        20.0,
        "what is deeper than this times the median depth of its image is sky and stays out",
        low=1.0,
        high=1e6,
    )
    radius: float = option(
        0.0,
        "points further than this from the camera are forgotten; 0: none",
        unit="stream unit",
        low=0.0,
        high=1e6,
    )
    max_age: int = option(
        0,
        "points unseen for this many frames are forgotten; 0: none",
        unit="frames",
        low=0,
        high=1_000_000_000,
    )
    thin_after: int = option(
        3,
        "a point that is seen through this often, and not seen in between, is a ghost and is "
        "forgotten; 0: none",
        unit="times",
        low=0,
        high=100,
    )
    thin_margin: float = option(
        0.1,
        "a point is seen through when it stands before the surface behind it by more than this "
        "share of its depth",
        low=0.0,
        high=0.9,
    )
