# SPDX-License-Identifier: Apache-2.0
"""Small networks, frames and comparisons for the tests of the core."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from weights import fill_with_stand_in_weights, stand_in_frames

from infinitevggt_core import VGGT, MemoryConfig, ModelConfig, Prediction, StreamSession
from infinitevggt_core.memory import KVCache, token_policy
from infinitevggt_core.memory.anchors import Anchors
from infinitevggt_core.memory.policies.base import LayerView
from infinitevggt_core.memory.precision import Plain, Precision

REFERENCE = Path(__file__).parents[1] / "reference"
CORE = Path(__file__).parents[2] / "infinitevggt_core"

State = dict[str, Tensor]

EXACT = 1e-5
"""Tolerance of two computations in fp32 that differ in the order of sums only."""

BF16_SHARE = 0.1
"""Largest deviation of bf16 from fp32, in root mean squares of the fp32 values."""

SMALL = ModelConfig(
    img_size=42,
    embed_dim=32,
    depth=4,
    num_heads=2,
    patch_embed="conv",
    camera_trunk_depth=1,
    camera_num_heads=2,
    dpt_features=8,
    dpt_out_channels=(8, 8, 8, 8),
    dpt_layers=(0, 1, 2, 3),
)
"""A few milliseconds a frame."""
LINGBOT = ModelConfig.lingbot_map(
    img_size=42,
    embed_dim=128,
    depth=2,
    num_heads=2,
    patch_embed="conv",
    camera_trunk_depth=1,
    camera_num_heads=2,
    dpt_features=8,
    dpt_out_channels=(8, 8, 8, 8),
    dpt_layers=(0, 0, 1, 1),
)
"""LingBot-Map in a small size."""
HEIGHT, WIDTH = 28, 42
TOKENS = 5 + 2 * 3
"""Tokens of a HEIGHT x WIDTH frame."""
SMALLEST = 2 * TOKENS * SMALL.depth
"""The smallest budget with one anchor frame."""
EVICTING = MemoryConfig(policy="diversity", total_budget=SMALLEST + 37, camera_frames=3)
WINDOW = MemoryConfig(policy="window", window=3)
FULL = MemoryConfig(policy="full")
FRAMES = MemoryConfig(policy="frames", total_budget=3 * SMALLEST, window=2)
IMPORTANCE = MemoryConfig(
    policy="importance",
    policy_options="moving_anchors=2, anchor_every=3",
    total_budget=3 * SMALLEST,
    camera_frames=3,
)
TRAJECTORY = MemoryConfig(policy="trajectory", window=2, trajectory_frames=4)
MEMORIES = {
    "diversity": EVICTING,
    "window": WINDOW,
    "frames": FRAMES,
    "importance": IMPORTANCE,
    "trajectory": TRAJECTORY,
    "full": FULL,
}


def small_model(seed: int = 0, config: ModelConfig = SMALL) -> VGGT:
    """A network of small size with weights that give varied outputs."""
    model = VGGT(config).eval().requires_grad_(False)
    fill_with_stand_in_weights(model, seed)
    return model


def small_frames(count: int, seed: int = 0) -> Tensor:
    """[count, 3, HEIGHT, WIDTH], a drifting texture."""
    return stand_in_frames(count, HEIGHT, WIDTH, seed)


def push_all(session: StreamSession, frames: Tensor) -> list[Prediction]:
    return [session.push(frame) for frame in frames]


def clip_of(predictions: list[Prediction]) -> Prediction:
    """Predictions of single frames as one of a clip, [B, S, ...]."""
    present = [name for name in Prediction.__slots__ if getattr(predictions[0], name) is not None]
    return Prediction(
        **{name: torch.stack([getattr(p, name) for p in predictions], dim=1) for name in present}
    )


def make_cache(layers: int, config: MemoryConfig, precision: Precision | None = None) -> KVCache:
    """Return a cache as a session makes it."""
    exact, anchors = Plain(torch.float32), Anchors(count=config.anchor_frames)
    return KVCache(layers, token_policy(config), precision or exact, anchors)


def view_of(
    keys: Tensor, config: MemoryConfig, surplus: int, precision: Precision | None = None
) -> LayerView:
    """Return the view that a policy has of keys (batch, heads, frames, tokens, head_dim)."""
    cache, (frames, tokens) = make_cache(1, config, precision), keys.shape[2:4]
    cache.begin_frame(0, tokens, count=frames)
    flat = keys.flatten(2, 3)
    cache.append(0, flat, 2 * flat)
    return cache.view(0, surplus)


def assert_close(got: Tensor, want: Tensor, tolerance: float, what: str = "") -> None:
    """Fail with the largest and the mean difference."""
    got, want = torch.as_tensor(got).double(), torch.as_tensor(want).double()
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)}, not {tuple(want.shape)}"
    difference = (got - want).abs()
    assert got.isfinite().all(), f"{what}: not finite"
    assert not (difference > tolerance).any(), (
        f"{what}: off by {difference.max():.3g} at most, {difference.mean():.3g} in the mean; "
        f"allowed {tolerance:g}"
    )


def assert_predictions_close(got: Prediction, want: Prediction, tolerance: float = EXACT) -> None:
    """Every field of `want` that is not None."""
    for name in Prediction.__slots__:
        if getattr(want, name) is not None:
            assert_close(getattr(got, name), getattr(want, name), tolerance, name)


def assert_same(got: list[Prediction], want: list[Prediction]) -> None:
    """Bit for bit."""
    for index, (a, b) in enumerate(zip(got, want, strict=True)):
        for name in Prediction.__slots__:
            one, other = getattr(a, name), getattr(b, name)
            both_none = one is None and other is None
            assert both_none or torch.equal(one, other), f"{name} of frame {index} differs"


def saved_and_read(state: dict[str, Any]) -> dict[str, Any]:
    """Save a snapshot to a file and read it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@dataclass(frozen=True)
class ReferenceCase:
    """Outputs of a released implementation, and the settings of the run."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    @property
    def model(self) -> VGGT:
        values = dict(self.meta["config"])
        seed = values.pop("seed")
        is_lingbot_map = self.meta.get("kind") == "lingbot_map"
        make = ModelConfig.lingbot_map if is_lingbot_map else ModelConfig
        return small_model(seed, make(**values))

    @property
    def frames(self) -> Tensor:
        """[S, 3, H, W]."""
        height, width = self.meta["frame_size"]
        return stand_in_frames(self.meta["frames"], height, width, seed=self.meta["frame_seed"])


def reference_case(name: str) -> ReferenceCase:
    with np.load(REFERENCE / f"{name}.npz") as data:
        arrays = {key: data[key] for key in data}
    return ReferenceCase(arrays, json.loads(str(arrays.pop("meta"))))


def deterministic_values(count: int, rank: int) -> np.ndarray:
    """Return u(i, rank) for i < count, float64 in [0, 1)."""
    i = np.arange(count, dtype=np.float64)
    return np.modf(np.abs(np.sin(12.9898 * (i + 1) + 78.233 * (rank + 1))) * 43758.5453)[0]


def fill_deterministically(module: nn.Module) -> None:
    """Fill the weights with numbers that depend on name and place alone."""
    state = module.state_dict()
    for rank, name in enumerate(sorted(state)):
        tensor = state[name]
        z = 2 * deterministic_values(tensor.numel(), rank) - 1
        leaf = name.rsplit(".", 1)[-1]
        if name.endswith("gamma"):
            values = 0.3 * z
        elif tensor.ndim >= 2 and leaf in ("weight", "in_proj_weight"):
            values = z * np.sqrt(3 * tensor.shape[0] / tensor.numel())
        elif tensor.ndim == 1 and leaf == "weight":
            values = 1 + 0.3 * z
        else:
            values = 0.5 * z
        tensor.copy_(torch.from_numpy(values.astype(np.float32)).view(tensor.shape))


def deterministic_frames(count: int, height: int, width: int) -> Tensor:
    """Return frames [1, count, 3, height, width] that depend on their place alone."""
    size = 3 * height * width
    frames = np.stack([deterministic_values(size, 100 + t) for t in range(count)])
    return torch.from_numpy(frames.astype(np.float32)).view(1, count, 3, height, width)


def present(prediction: Prediction) -> list[Tensor]:
    values = (getattr(prediction, name) for name in Prediction.__slots__)
    return [value for value in values if value is not None]


def assert_near(got: Prediction, exact: Prediction) -> None:
    """Within BF16_SHARE in the root mean square, field by field."""
    for one, other in zip(present(got), present(exact), strict=True):
        off = (one.float() - other).square().mean().sqrt() / other.square().mean().sqrt()
        assert off <= BF16_SHARE, f"off by {off:.3g} of the root mean square"


def same_state(one: VGGT, other: VGGT) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)
