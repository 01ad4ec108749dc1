# SPDX-License-Identifier: Apache-2.0
"""Settings of the tracking. Lengths in pixels are those of an image 320 px wide."""

from dataclasses import dataclass

from infinitevggt_core.config import Options, option


@dataclass(frozen=True, slots=True)
class TrackingConfig(Options):
    """Few settings, each with a default that was measured (docs/tracking.md)."""

    image_pixels: int = option(
        128_000,
        "images with more pixels are made smaller for the tracking",
        unit="px",
        low=10_000,
        high=4_000_000,
    )
    corners: int = option(
        350, "corners followed at once, spread over the image", unit="corners", low=60, high=2000
    )
    window: int = option(
        24,
        "keyframes of the bundle adjustment, which moves the newest 12, and every fourth time all",
        unit="keyframes",
        low=4,
        high=60,
    )
    keyframe_flow: float = option(
        0.047,
        "median motion of the corners since the last keyframe that makes a new one, as a share of "
        "the image's width",
        low=0.005,
        high=0.5,
    )
    depth_trust: float = option(
        15.0,
        "standard deviation of the network's depth in the adjustment: this times its measured "
        "spread about the triangulated depth; smaller trusts the network more",
        low=0.1,
        high=1000.0,
    )
    sensor_sigma: float = option(
        0.02,
        "relative standard deviation of the depth of a depth camera",
        low=0.001,
        high=1.0,
    )
    focal: str = option(
        "known",
        "known: the intrinsics are right; refine: they are a guess, whose focal length the "
        "adjustment corrects",
        choices=("known", "refine"),
    )
    patience: int = option(
        5,
        "images in a row without a pose after which a new piece of the trajectory begins",
        unit="frames",
        low=1,
        high=100,
    )
    places: int = option(
        2000,
        "keyframes that loop closure remembers; of two of the same view the poorer one is dropped",
        unit="keyframes",
        low=10,
        high=20_000,
    )
