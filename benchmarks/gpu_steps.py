# SPDX-License-Identifier: Apache-2.0
"""Steps of benchmarks.gpu: each yields rows with the work that measures them."""

import copy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from infinitevggt_core import VGGT, MemoryConfig, ModelConfig, StreamSession, load_checkpoint
from infinitevggt_core.memory import POLICIES

Work: TypeAlias = Callable[[], dict[str, Any]]
Rows: TypeAlias = Iterator[tuple[str, Work]]
KERNELS = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
CLI = ("-m", "infinitevggt_ros.commands.cli")
CAMERA_FRAMES = 8
"""Frames of the camera head's cache, so that a frame is soon steady."""
LAST = 10
"""Frames of which the median counts."""
ROW_S = 25
"""Longest time of one stream."""
SAVING_S = 20
"""Time to end training and to write its checkpoint."""
LARGEST_FILE = 16_000_000
TRAINING = (
    *("--optimizer", "muon", "--lr", "1e-3", "--steps", "60000", "--warmup-steps", "200"),
    *("--batch-frames", "768", "--frames-first", "8", "--frames-last", "24", "--growth-steps", "0"),
    *("--stride-last", "16", "--dense-share", "0.25", "--place-weight", "2"),
    *("--translation-weight", "2", "--validate-every", "500", "--save-every", "500"),
)
SMALL_TRAINING = (
    *("--steps", "2", "--batch-frames", "8", "--frames-last", "8", "--validation-clips", "2"),
)


@dataclass
class Trial:
    """A run on one device."""

    device: torch.device
    small: bool
    """True for a few frames of a small network."""
    out: Path
    run: Path
    """Directory of the training run."""
    level: str
    """Level of the training worlds."""
    deadline_s: float
    """End of the run, in the time of time.monotonic."""
    first: dict[str, Tensor] = field(default_factory=dict)
    """Depth of the first stream of each policy."""
    networks: list[VGGT] = field(default_factory=list)
    """The network, and the same with compiled blocks."""

    @property
    def left_s(self) -> float:
        return self.deadline_s - time.monotonic()

    @property
    def size(self) -> tuple[int, int]:
        return (28, 42) if self.small else (392, 518)

    def network(self) -> VGGT:
        """Return the network of all streams: random weights, made on the device, in bf16."""
        if not self.networks:
            config = ModelConfig.tiny() if self.small else ModelConfig()
            self.networks.append(random_on(self.device, config).cast(torch.bfloat16))
        return self.networks[0]

    def memory(self, policy: str, **options: Any) -> MemoryConfig:
        """Return a memory of 25,000 tokens per layer, or of six small frames."""
        budget = 6 * 6 * 11 if self.small else MemoryConfig().total_budget
        return MemoryConfig(
            policy, total_budget=budget, camera_frames=CAMERA_FRAMES, window=3, **options
        )

    def seconds(self, work: Callable[[], object], times: int = 20) -> float:
        """Return the mean time of some calls in a row, after three others."""
        times = 2 if self.small else times
        for _ in range(3):
            work()
        self.wait()
        started_s = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - started_s) / times

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def random_on(device: torch.device, config: ModelConfig) -> VGGT:
    """Return a network whose random weights are drawn on the device, in no time."""
    with torch.device("meta"):
        model = VGGT(config)
    model = model.to_empty(device=device).eval()
    with torch.no_grad():
        for module in model.modules():
            for name, weight in module.named_parameters(recurse=False):
                if weight.ndim > 1:
                    weight.normal_(std=weight[0].numel() ** -0.5)
                else:
                    is_norm = isinstance(module, nn.LayerNorm) and name == "weight"
                    weight.fill_(1.0 if is_norm else 0.01 if name == "gamma" else 0.0)
    return model


def ceilings(trial: Trial) -> Rows:
    """Products of large matrices, and a copy."""
    size = 64 if trial.small else 8192

    def products(dtype: torch.dtype) -> dict[str, Any]:
        a, b = (torch.randn(size, size, device=trial.device).to(dtype) for _ in range(2))
        return {"TFLOP/s": round(2 * size**3 / trial.seconds(lambda: a @ b) / 1e12, 1)}

    def bandwidth() -> dict[str, Any]:
        x, y = (torch.zeros(16 * size**2, device=trial.device) for _ in range(2))
        rate = 2 * x.nbytes / trial.seconds(lambda: y.copy_(x))
        return {"TB/s read and written": round(rate / 1e12, 3)}

    for dtype in (torch.bfloat16, torch.float32):
        yield f"products, {str(dtype).removeprefix('torch.')}", partial(products, dtype)
    yield "copy", bandwidth


def attention(trial: Trial) -> Rows:
    """A frame's queries, one layer: its own keys, full memories, and a length never seen."""
    tokens = 11 if trial.small else 1041
    lengths = (tokens, 40) if trial.small else (tokens, 25_000, 25_001, 50_000)

    def measured(kernel: SDPBackend, length: int) -> dict[str, Any]:
        draw = partial(torch.randn, device=trial.device)
        q, k = (draw(1, 16, n, 64).to(torch.bfloat16) for n in (tokens, length))
        with sdpa_kernel(kernel):
            trial.wait()
            started_s = time.perf_counter()
            scaled_dot_product_attention(q, k, k)
            trial.wait()
            first_s = time.perf_counter() - started_s
            then_s = trial.seconds(lambda: scaled_dot_product_attention(q, k, k))
        return {"first call ms": round(1e3 * first_s, 2), "ms": round(1e3 * then_s, 4)}

    for length in lengths:
        for name, kernel in KERNELS.items():
            yield f"{length} keys, {name}", partial(measured, kernel, length)


def frame(trial: Trial) -> Rows:
    """The default policy; depth is compared with that of the first row."""

    def by_layer() -> dict[str, Any]:
        with mock.patch.object(POLICIES["frames"], "takes_all_layers", False):
            return stream(trial, trial.network(), trial.memory("frames"))

    def together() -> dict[str, Any]:
        return stream(trial, trial.network(), trial.memory("frames"), profiled=True)

    def graph() -> dict[str, Any]:
        return stream(trial, trial.network(), trial.memory("frames"), graph=True)

    def compiled(graph: bool) -> dict[str, Any]:
        if len(trial.networks) == 1:
            trial.networks.append(copy.deepcopy(trial.network()).compile_blocks())
        return stream(trial, trial.networks[1], trial.memory("frames"), graph=graph, seconds=60)

    yield "layers evicted one by one", by_layer
    yield "evicted together", together
    yield "in a graph", graph
    if trial.device.type == "cuda" or not trial.small:  # a CPU takes a minute to compile
        yield "compiled, in a graph", partial(compiled, True)
        yield "compiled", partial(compiled, False)


def diversity(trial: Trial) -> Rows:
    """Each length of a layer is a plan for cuDNN, and none for the others."""

    def measured(cudnn: bool, options: str = "") -> dict[str, Any]:
        memory = trial.memory("diversity", policy_options=options)
        with cudnn_attention(cudnn):
            return stream(trial, trial.network(), memory)

    yield "without cuDNN", partial(measured, False)
    yield "with cuDNN", partial(measured, True)
    yield "with cuDNN, budgets in steps of 256", partial(measured, True, "budget_step=256")


def tokens(trial: Trial) -> Rows:
    """The shipped network in fp32."""

    def alike(policy: str) -> dict[str, Any]:
        count, depth = (9, 6) if trial.small else (30, 6)
        images = torch.rand(count, 3, 84, 112, generator=torch.Generator().manual_seed(0))
        memory = MemoryConfig(policy, total_budget=6 * depth * 53, window=2)
        ends = []
        for device in (torch.device("cpu"), trial.device):
            session = StreamSession(load_checkpoint("tiny").to(device).eval(), memory)
            for image in images:
                prediction = session.push(image)
            frames = [session.token_frames(layer).cpu().flatten() for layer in range(depth)]
            numbers = torch.arange(count)[:, None]
            kept = torch.stack([(held == numbers).sum(dim=1) for held in frames])
            ends.append((prediction.depth.cpu(), kept))
        (ours, our_tokens), (theirs, their_tokens) = ends
        difference = float((theirs / ours - 1).abs().max())
        same = float(our_tokens.minimum(their_tokens).sum() / our_tokens.sum())
        return {"depth differs by": difference, "tokens of the same frames": same}

    for policy in ("frames", "diversity", "importance"):
        yield policy, partial(alike, policy)


def train(trial: Trial) -> Rows:
    """Continue the run, or start from the shipped checkpoint, in a process with a time limit."""

    def trained() -> dict[str, Any]:
        left_s = trial.left_s
        if left_s < 2 * SAVING_S:
            return {"skipped": "no time is left"}
        arguments = ["--out", str(trial.run), "--minutes", f"{(left_s - SAVING_S) / 60:.2f}"]
        if (trial.run / "state.pt").exists():
            arguments += ["--resume"]
        else:
            arguments += ["--init", "tiny", "--level", trial.level, *TRAINING]
        arguments += SMALL_TRAINING if trial.small else ()
        command = [sys.executable, *CLI, "train", "--device", str(trial.device), *arguments]
        log = trial.out / "train.log"
        with log.open("w") as file:
            ended = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=left_s)
        lines = log.read_text().splitlines()
        if ended.returncode:
            raise RuntimeError(f"training ended with status {ended.returncode}: {lines[-1:]}")
        checkpoint = trial.run / "last.safetensors"
        if checkpoint.stat().st_size < LARGEST_FILE:
            shutil.copy(checkpoint, trial.out)
        return {"last lines": lines[-3:]}

    yield "tiny", trained


def stream(
    trial: Trial,
    model: VGGT,
    memory: MemoryConfig,
    *,
    graph: bool = False,
    seconds: float = ROW_S,
    profiled: bool = False,
) -> dict[str, Any]:
    """Return the times of a frame of a stream, from images in the host's memory.

    graph: record the frame. seconds: longest time. profiled: write a table of the kernels of three
    frames.
    """
    model.records_frames = graph
    session, ends_s = StreamSession(model, memory), time.monotonic() + seconds
    generator = torch.Generator().manual_seed(0)
    wall, host = [], []
    for _ in range(20 if trial.small else 44):
        image = torch.rand(3, *trial.size, generator=generator)
        trial.wait()
        started_s = time.perf_counter()
        prediction = session.push(image)
        host.append(time.perf_counter() - started_s)
        trial.wait()
        wall.append(time.perf_counter() - started_s)
        if min(ends_s - time.monotonic(), trial.left_s) < 0:
            break
    depth = prediction.depth.float().cpu()
    first = trial.first.setdefault(f"{memory.policy}, {len(wall)} frames", depth)
    row = {
        "frames": len(wall),
        "ms": round(1e3 * median(wall[-LAST:]), 2),
        "host ms": round(1e3 * median(host[-LAST:]), 2),
        "filling ms": round(1e3 * median(wall[1 : 1 + LAST]), 2),
        "longest of the last ms": round(1e3 * max(wall[-LAST:]), 2),
        "frames by a graph": session.segment.graph.replays,
        "tokens per layer": max(session.stored_tokens),
        "depth differs by": float((depth / first - 1).abs().max()),
    }
    if trial.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trial.device)
        session.push(image)
        row["peak GB"] = round(torch.cuda.max_memory_allocated(trial.device) / 1e9, 3)
    if profiled:
        write_profile(session, image, trial.out / "profile.txt")
    return row


def write_profile(session: StreamSession, image: Tensor, path: Path) -> None:
    """Write a table of the operations of three frames."""
    activities = [ProfilerActivity.CPU]
    if session.model.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        for _ in range(3):
            session.push(image)
        if session.model.device.type == "cuda":
            torch.cuda.synchronize()
    order = "self_cuda_time_total" if len(activities) > 1 else "self_cpu_time_total"
    path.write_text(seen.key_averages().table(sort_by=order, row_limit=60))


@contextmanager
def cudnn_attention(enabled: bool) -> Iterator[None]:
    """Context manager in which attention may go to cuDNN, or not."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(enabled)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


STEPS: dict[str, Callable[[Trial], Rows]] = {
    "ceilings": ceilings,
    "attention": attention,
    "frame": frame,
    "diversity": diversity,
    "tokens": tokens,
    "train": train,
}
"""Steps in the order of their value."""
