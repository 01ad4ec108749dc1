# SPDX-License-Identifier: Apache-2.0
"""Settings of the core: frozen dataclasses that check their values and define every default.

A field's `metadata` describes it to user interfaces: `text`, `unit`, `low`, `high`, `choices`. The
ROS node declares its parameters by walking these fields.
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
"""Largest token count: a budget that is never reached."""
REGISTERS = 4
"""Register tokens of each frame."""


def option(
    default: Any,
    text: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Collection[str] = (),
) -> Any:
    """Return a dataclass field with its description, unit, inclusive range and choices."""
    metadata = {"text": text, "unit": unit, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


class Options:
    """Base of a dataclass of options that checks its values on construction."""

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
    """Return the numbers of an option that may have several. Raises ValueError for other types."""
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError(f"{name} must be a number; got {value!r}")
    return numbers


def _lies_in(low: float, high: float | None, number: float) -> bool:
    return bool(number >= low and (high is None or number <= high))


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes and variants of the network (docs/model.md). The defaults are those of the published
    VGGT; `lingbot_map` lists what differs in LingBot-Map."""

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
    point_head: bool = True
    """True if the network has a head for point maps."""
    scale_token: bool = False
    """True if each frame has a sixth special token, which marks the joint start."""
    temporal_rotation: bool = False
    """True if global blocks rotate queries and keys by frame, row and column (3-D), False by row
    and column (2-D)."""
    temporal_range: int = 0
    """Number of temporal indices in the trained range; 0 if there is none."""
    start_frames: int = 1
    """Number of frames that started a stream together in training."""
    predicts_world_from_camera: bool = False
    """True if the camera head predicts world_from_camera poses. `VGGT` converts them."""

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

        self._require(
            not self.temporal_rotation or self.embed_dim == 64 * self.num_heads,
            "embed_dim / num_heads must be 64 (3-D rotary embedding)",
        )

    @property
    def special_tokens(self) -> int:
        """Number of tokens at the head of each frame: camera, registers, scale."""
        return 1 + REGISTERS + self.scale_token

    def _require(self, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{rule}; got {self}")

    @classmethod
    def lingbot_map(cls, **sizes: Any) -> "ModelConfig":
        """Return the configuration of LingBot-Map (docs/lingbot_map.md), with other `sizes` if
        given."""
        return cls(
            point_head=False,
            scale_token=True,
            temporal_rotation=True,
            temporal_range=1024,
            start_frames=8,
            predicts_world_from_camera=True,
            **sizes,
        )

    @classmethod
    def tiny(cls) -> "ModelConfig":
        """Return the configuration of `tiny`, which runs live on two CPU cores."""
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
    """Settings of the fused point map. Lengths are in the stream's own unit (no metric scale)."""

    voxel_size: float = option(
        0.02,
        "edge of a voxel, whose points are averaged; another size starts an empty map",
        unit="stream unit",
        low=1e-4,
        high=10.0,
    )
    max_points: int = option(
        1_000_000,
        "most points kept, those unseen for longest are removed first; another number starts an "
        "empty map",
        unit="points",
        low=1,
        high=20_000_000,
    )
    min_confidence: float = option(
        1.0, "least depth confidence of a point in the map", low=1.0, high=1000.0
    )
    keep_fraction: float = option(
        0.7,
        "share of each frame's points, the most confident ones, that may enter the map",
        low=0.01,
        high=1.0,
    )
    pixel_stride: int = option(
        2, "every n-th pixel in both directions is used", unit="px", low=1, high=64
    )
    max_range: float = option(
        0.0,
        "largest distance of a new point from the camera; 0: no limit",
        unit="stream unit",
        low=0.0,
        high=1e6,
    )
    sky_ratio: float = option(
        20.0,
        "pixels deeper than this multiple of the median depth are sky and stay out",
        low=1.0,
        high=1e6,
    )
    radius: float = option(
        0.0,
        "points further than this from the camera are removed; 0: never",
        unit="stream unit",
        low=0.0,
        high=1e6,
    )
    max_age: int = option(
        0,
        "points unseen for this many frames are removed; 0: never",
        unit="frames",
        low=0,
        high=1_000_000_000,
    )
    thin_after: int = option(
        3,
        "a point that is seen through this often, and not seen in between, is removed; 0: never",
        unit="times",
        low=0,
        high=100,
    )
    thin_margin: float = option(
        0.1,
        "a point is seen through if it lies in front of the surface behind it by more than this "
        "share of its depth",
        low=0.0,
        high=0.9,
    )
