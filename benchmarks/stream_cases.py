# SPDX-License-Identifier: Apache-2.0
"""Cases of benchmarks.stream."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.clock import Clock
from benchmarks.contest import Contender, Measured, contest, noise, ratio, timed, timed_push
from benchmarks.naive_session import NaiveSession
from infinitevggt_core import VGGT, MemoryConfig, ModelConfig, StreamSession
from infinitevggt_core.model.checkpoint import random_model
from infinitevggt_core.model.kernels import Linear, attention, plain
from infinitevggt_core.model.rope import SPECIAL_TOKENS

SMALL = ModelConfig(
    img_size=154,
    embed_dim=256,
    depth=8,
    num_heads=4,
    patch_embed="conv",
    camera_trunk_depth=1,
    camera_num_heads=8,
    dpt_features=64,
    dpt_out_channels=(64, 128, 256, 256),
    dpt_layers=(1, 3, 5, 7),
)
"""21 M parameters."""
SMALL_SIZE = (112, 154)
LINGBOT = replace(
    SMALL,
    scale_token=True,
    temporal_rotation=True,
    point_head=False,
    predicts_world_from_camera=True,
)
"""The same sizes as LingBot-Map has them."""
FULL = ModelConfig()
FULL_SIZE = (392, 518)
DRY_SIZE = (56, 70)
FEW = 4
FRAMES_PER_LAYER = 20
BUDGETS = (2, 5, 10, 20, 40)
"""Frames per layer."""
WIDTHS = (256, 384, 512)
YOUNG = 200
CURVE_BLOCK = 25
"""Number of frames per point of a curve, which is their median."""
SETTLING = 2
"""Number of frames after the memory is full before timing starts."""
PAPERS = "diversity"
"""Policy of the naive session, which is that of the paper."""
CAMERA_FRAMES = 100_000
"""Large enough that the camera head evicts nothing, as in the naive session."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Settings of a measurement."""

    device: torch.device
    clock: Clock
    frames: int
    """Timed frames of the small network; the full one takes fewer on the CPU."""
    old: int
    """Frames of the long stream."""
    dry: bool
    """True for a few frames of the smallest network only."""

    def network(self, config: ModelConfig, dtype: torch.dtype = torch.float32) -> VGGT:
        model = random_model(ModelConfig.tiny() if self.dry else config)
        return model.to(self.device).eval().cast(dtype)

    def tokens(self, model: VGGT, size: tuple[int, int]) -> int:
        """Return the tokens of a frame in all layers."""
        return model.config.depth * model.aggregator.tokens_per_frame(*self.size(size))

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        return DRY_SIZE if self.dry else size

    def few(self, frames: int) -> int:
        return min(frames, FEW) if self.dry else frames

    def images(self, size: tuple[int, int]) -> Iterator[Tensor]:
        return noise(self.size(size), self.device)

    def contest(
        self,
        contenders: Mapping[str, Contender],
        size: tuple[int, int],
        held: int,
        frames: int,
        same_results: bool = False,
    ) -> dict[str, Measured]:
        """Measure contenders side by side.

        held: number of frames after which the memories are full. frames: number of timed frames.
        """
        warm, timed = held + SETTLING, self.few(frames)
        images = self.images(size)
        return contest(contenders, images, warm, timed, self.clock, same_results)


def figure(what: str, value: float, must: str = "", aim: str = "") -> dict[str, Any]:
    return {"figure": what, "value": value, "must": must, "aim": aim}


def summaries(measured: dict[str, Measured]) -> dict[str, Any]:
    return {name: result.summary() for name, result in measured.items()}


def rivals(model: VGGT, budget: int, points: bool = False) -> dict[str, Contender]:
    """Return two sessions with the same results."""
    memory = MemoryConfig(PAPERS, total_budget=budget, camera_frames=CAMERA_FRAMES)
    return {
        "ours": StreamSession(model, memory, points=points),
        "naive": NaiveSession(model, budget, points=points),
    }


def small(bench: Bench) -> dict[str, Any]:
    model, held = bench.network(SMALL), bench.few(FRAMES_PER_LAYER)
    budget = held * bench.tokens(model, SMALL_SIZE)
    sessions = rivals(model, budget)
    sessions["naive, our kernels"] = NaiveSession(model, budget, points=False, our_kernels=True)
    got = bench.contest(sessions, SMALL_SIZE, held, bench.frames, same_results=True)
    what = "small network, same results: naive / ours, time"
    return {
        "figures": [
            figure(what, ratio(got["naive"], got["ours"]), "≥ 1.3", "≥ 2"),
            figure(f"{what}, both with our kernels", ratio(got["naive, our kernels"], got["ours"])),
        ],
        "measured": summaries(got),
    }


def eviction(bench: Bench) -> dict[str, Any]:
    model, held = bench.network(SMALL), bench.few(FRAMES_PER_LAYER)
    total = held * bench.tokens(model, SMALL_SIZE)
    memories = {"window": MemoryConfig(policy="window", window=held - 1)}
    for policy in ("diversity", "importance", "frames"):
        own = "moving_anchors=1" if policy == "importance" else ""
        memories[policy] = MemoryConfig(policy, own, total_budget=total, window=1)
    sessions = {name: StreamSession(model, memory) for name, memory in memories.items()}
    got = bench.contest(sessions, SMALL_SIZE, held, bench.frames)
    window = got["window"]
    return {
        "figures": [
            figure(
                f"eviction, {name} / window holding as many tokens, time",
                ratio(measured, window),
                "≤ 1.10",
                "≤ 1.03",
            )
            for name, measured in got.items()
            if measured is not window
        ],
        "measured": summaries(got),
    }


def lingbot(bench: Bench) -> dict[str, Any]:
    """Compare LingBot-Map's memory with a window of as many tokens, on a small network of its
    kind."""
    model, held = random_model(LINGBOT).to(bench.device).eval(), bench.few(FRAMES_PER_LAYER)
    specials, tokens = model.config.special_tokens, bench.tokens(model, SMALL_SIZE)
    frames = tokens // model.config.depth // specials  # special tokens of so many take one frame
    plain = {"start_frames": 1, "camera_frames": held}
    sessions = {
        "window": StreamSession(model, MemoryConfig("window", window=held - 1, **plain)),
        "trajectory": StreamSession(
            model, MemoryConfig("trajectory", window=held - 2, trajectory_frames=frames, **plain)
        ),
    }
    got = bench.contest(sessions, SMALL_SIZE, held + bench.few(frames), bench.frames)
    what = "LingBot-Map, trajectory / window holding as many tokens, time"
    return {
        "figures": [figure(what, ratio(got["trajectory"], got["window"]), "≤ 1.10", "≤ 1.03")],
        "measured": summaries(got),
    }


def length(bench: Bench) -> dict[str, Any]:
    """Compare a young and an old session side by side, so that both see the same machine."""
    model, held = bench.network(SMALL), bench.few(FRAMES_PER_LAYER)
    budget = held * bench.tokens(model, SMALL_SIZE)
    young_at, old_at = bench.few(YOUNG), 2 * bench.few(bench.old // 2)
    images = bench.images(SMALL_SIZE)
    memory = MemoryConfig(PAPERS, total_budget=budget, camera_frames=young_at // 2)
    young, old = (StreamSession(model, memory) for _ in range(2))
    growing = StreamSession(model, MemoryConfig(policy="full"))
    curves = {
        "ours": curve(bench, old, images, old_at),
        "naive": curve(bench, NaiveSession(model, budget, points=False), images, 2 * young_at),
        "full": curve(bench, growing, images, young_at),
    }
    for _ in range(young_at):
        young.push(next(images))
    bytes_then, bytes_now = young.memory_bytes, old.memory_bytes
    got = bench.contest({"young": young, "old": old}, SMALL_SIZE, 0, bench.frames)
    which = f"frame {old_at} / frame {young_at}"
    return {
        "figures": [
            figure(f"{which}, time", ratio(got["old"], got["young"]), "≤ 1.02"),
            figure(f"{which}, bytes", bytes_now / bytes_then, "1.00"),
        ],
        "measured": summaries(got),
        "curves": curves,
    }


def curve(
    bench: Bench, session: Contender, images: Iterator[Tensor], frames: int
) -> list[list[float]]:
    """Return [frame, median ms, MB] every few frames."""
    points, block = [], Measured()
    for frame in tqdm(range(1, frames + 1), unit="frame", disable=None, leave=False):
        timed_push(session, next(images), bench.clock, block)
        if len(block.frame_ms) == min(CURVE_BLOCK, frames):
            points.append([frame, median(block.frame_ms), session.memory_bytes / 1e6])
            block = Measured()
    return points


def budgets(bench: Bench) -> dict[str, Any]:
    model = bench.network(SMALL)
    measured = {}
    for held in BUDGETS[:2] if bench.dry else BUDGETS:
        sessions = rivals(model, held * bench.tokens(model, SMALL_SIZE))
        got = bench.contest(sessions, SMALL_SIZE, held, bench.frames // 3, same_results=True)
        measured[str(held)] = summaries(got)
    return {"figures": [], "budgets": measured}


def full(bench: Bench) -> dict[str, Any]:
    model = bench.network(FULL)
    sessions = rivals(model, 2 * bench.tokens(model, FULL_SIZE), points=True)
    got = bench.contest(sessions, FULL_SIZE, 2, bench.frames // 10, same_results=True)
    what = "full size, same results: naive / ours, time"
    return {
        "figures": [figure(what, ratio(got["naive"], got["ours"]), "≥ 1.1", "≥ 1.3")],
        "measured": summaries(got),
    }


def user(bench: Bench) -> dict[str, Any]:
    model = bench.network(FULL)
    budget = 2 * bench.tokens(model, FULL_SIZE)
    half = copy.deepcopy(model).cast(torch.bfloat16)
    sessions: dict[str, Contender] = {
        "naive, fp32, all heads": NaiveSession(model, budget, points=True),
        "ours, bf16, depth and camera": StreamSession(
            half, MemoryConfig(PAPERS, total_budget=budget)
        ),
    }
    got = bench.contest(sessions, FULL_SIZE, 2, bench.frames // 10)
    what = "full size, as one would use it: naive / ours, time"
    return {
        "figures": [figure(what, ratio(*got.values()), "≥ 3", "≥ 6")],
        "measured": summaries(got),
    }


def precision(bench: Bench) -> dict[str, Any]:
    """Compare precisions for networks as wide as that of `small`, and wider."""
    figures, measured = [], {}
    held = bench.few(FRAMES_PER_LAYER // 2)
    for width in WIDTHS:
        config = replace(SMALL, embed_dim=width, num_heads=width // 64)
        model = bench.network(config)
        memory = MemoryConfig(PAPERS, total_budget=held * bench.tokens(model, SMALL_SIZE))
        sessions = {
            "fp32": StreamSession(model, memory),
            "bf16": StreamSession(copy.deepcopy(model).cast(torch.bfloat16), memory),
        }
        got = bench.contest(sessions, SMALL_SIZE, held, bench.frames // 2)
        figures.append(figure(f"{width} wide: fp32 / bf16, time", ratio(*got.values())))
        measured |= {f"{width} wide, {name}": value for name, value in summaries(got).items()}
    return {"figures": figures, "measured": measured}


def compiled(bench: Bench) -> dict[str, Any]:
    model, held = bench.network(SMALL), bench.few(FRAMES_PER_LAYER)
    budget = held * bench.tokens(model, SMALL_SIZE)
    got = bench.contest(with_compiled(model, budget), SMALL_SIZE, held, bench.frames)
    what = "small network, eager / compiled blocks, time"
    return {"figures": [figure(what, ratio(*got.values()))], "measured": summaries(got)}


def with_compiled(model: VGGT, budget: int) -> dict[str, Contender]:
    """Return the same stream twice. Compiled blocks keep the same tokens, but not the same bits."""
    memory = MemoryConfig(PAPERS, total_budget=budget)
    return {
        "ours": StreamSession(model, memory),
        "ours, compiled": StreamSession(copy.deepcopy(model).compile_blocks(), memory),
    }


def kernels(bench: Bench) -> dict[str, Any]:
    """Compare kernels for one layer at full size with 2 frames in the memory, without a network."""
    config = ModelConfig.tiny() if bench.dry else FULL
    dim, heads = config.embed_dim, config.num_heads
    height, width = bench.size(FULL_SIZE)
    tokens = SPECIAL_TOKENS + height * width // config.patch_size**2
    with torch.no_grad(), bench.device:
        x, layer = torch.rand(1, tokens, dim), Linear(dim, 4 * dim)
        q = torch.rand(1, heads, tokens, dim // heads)
        k, v = torch.rand(2, 1, heads, 2 * tokens, dim // heads)
        half = [tensor.bfloat16() for tensor in (q, k, v)]
        works = {
            "linear layer, fp32": lambda: layer(x),
            "attention, fp32": lambda: attention(q, k, v),
            "attention, bf16": lambda: attention(*half),
        }
        return {
            "figures": [
                figure(f"{what}: PyTorch's own choice / ours, time", gain(bench, work))
                for what, work in works.items()
            ]
        }


def gain(bench: Bench, work: Callable[[], Tensor]) -> float:
    """Return the ratio of the times without and with our kernels."""
    ours, plain_ones = Measured(), Measured()
    for _ in range(bench.few(bench.frames)):
        timed(work, bench.clock, ours)
        with plain():
            timed(work, bench.clock, plain_ones)
    return ratio(plain_ones, ours)


def gpu_25k(bench: Bench) -> dict[str, Any]:
    model = bench.network(FULL, torch.bfloat16)
    budget = 25_000 * model.config.depth
    held = bench.few(budget // bench.tokens(model, FULL_SIZE))
    got = bench.contest(with_compiled(model, budget), FULL_SIZE, held, bench.frames)
    what = "25,000 tokens per layer, bf16, frames/s"
    return {
        "figures": [
            figure(f"{what}: {name}", 1e3 / measured.summary()["ms"], "≥ 30", "≥ 60")
            for name, measured in got.items()
        ],
        "measured": summaries(got),
    }


def gpu_50k(bench: Bench) -> dict[str, Any]:
    model = bench.network(FULL, torch.bfloat16)
    budget = 50_000 * model.config.depth
    held = bench.few(budget // bench.tokens(model, FULL_SIZE))
    got = bench.contest(rivals(model, budget), FULL_SIZE, held, bench.frames, same_results=True)
    what = "50,000 tokens per layer, bf16: naive / ours"
    naive, ours = got["naive"], got["ours"]
    figures = [figure(f"{what}, time", ratio(naive, ours), "≥ 3", "≥ 6")]
    if naive.peak_mb and ours.peak_mb:
        relative = naive.peak_mb / ours.peak_mb
        figures.append(figure(f"{what}, peak memory", relative, "≥ 1.8", "≥ 2.5"))
    return {"figures": figures, "measured": summaries(got)}


CASES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "small": small,
    "eviction": eviction,
    "lingbot": lingbot,
    "length": length,
    "budgets": budgets,
    "full": full,
    "user": user,
    "precision": precision,
    "compiled": compiled,
    "kernels": kernels,
    "gpu_25k": gpu_25k,
    "gpu_50k": gpu_50k,
}
"""Cases in the order of the table."""
