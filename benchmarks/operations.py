# SPDX-License-Identifier: Apache-2.0
"""Operations, FLOP, bytes moved, bytes held and estimated GPU time of one steady frame, by stage.

Runs on any machine, also at full size, on tensors that have shapes but no numbers. The frame is
the last of --frames, by default as many as the budget needs to be full. Time is estimated for an
H100: of each operation the longest of its FLOP at 600 TFLOP/s (bf16; fp32: 50), its bytes at
3 TB/s, and 2 us. Attention counts as one fused operation.

Examples: python -m benchmarks.operations
          python -m benchmarks.operations --policy diversity --dtype int8
          python -m benchmarks.operations --model tiny --size 84 112 --budget 6360 --lines 12
"""

import argparse
import sys
from dataclasses import dataclass

import torch

from benchmarks.recorder import Cost, Recorder, recording, stages_of
from infinitevggt_core import VGGT, MemoryConfig, ModelConfig, StreamSession
from infinitevggt_core.memory import POLICIES
from infinitevggt_core.memory.precision import PRECISIONS

MODELS = {"full": ModelConfig, "tiny": ModelConfig.tiny}
STAGES = (
    "encoder",
    "frame blocks",
    "global blocks",
    "memory: attention",
    "memory: store",
    "memory: evict",
    "camera head",
    "depth head",
    "point head",
    "rest",
)
FRAMES = 30
"""Frames until a memory of the default budget is full and steady."""


@dataclass(frozen=True)
class Frame:
    """Cost of one steady frame of a stream."""

    stages: dict[str, Cost]
    held: int
    """Bytes held before the frame: weights and memory."""
    extra: int
    """Most bytes held during the frame besides."""
    tokens: int
    """Tokens kept in the first global layer."""
    recorder: Recorder

    @property
    def total(self) -> Cost:
        return sum(self.stages.values(), Cost())


def measure(
    config: ModelConfig,
    memory: MemoryConfig,
    size: tuple[int, int],
    *,
    half: bool = True,
    frames: int = FRAMES,
    points: bool = False,
) -> Frame:
    """Record the last of so many frames.

    half: compute in bf16. size: height and width in pixels.
    """
    with recording() as recorder:
        with torch.device("meta"):
            model = VGGT(config).eval().cast(torch.bfloat16 if half else torch.float32)
            image = torch.empty(3, *size)
        session = StreamSession(model, memory, points=points)
        recorder.counts = False
        for _ in range(frames - 1):
            session.push(image)
        recorder.counts = True
        recorder.reset()
        held = recorder.live
        with stages_of(recorder, model):
            session.push(image)
        extra, tokens = recorder.peak - held, session.stored_tokens[0]
    return Frame(dict(recorder.costs), held, extra, tokens, recorder)


def table(frame: Frame) -> str:
    """Markdown, a row a stage."""
    rows = [
        "| stage | operations | GFLOP | MB moved | GPU ms (estimated) |",
        "|---|---|---|---|---|",
        *(_row(stage, frame.stages[stage]) for stage in STAGES if stage in frame.stages),
        _row("all", frame.total),
    ]
    held = f"Held: {frame.held / 1e9:.2f} GB; one frame needs {frame.extra / 1e6:.0f} MB more."
    return "\n".join([*rows, "", f"{frame.tokens} tokens per layer. {held}"])


def _row(name: str, cost: Cost) -> str:
    count = cost.operations.total()
    return (
        f"| {name} | {count:,} | {cost.flop / 1e9:,.1f} | {cost.bytes / 1e6:,.0f} "
        f"| {1e3 * cost.seconds:.2f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=MODELS, default="full")
    add("--size", type=int, nargs=2, default=(392, 518), metavar=("HEIGHT", "WIDTH"))
    add("--policy", choices=POLICIES, default=MemoryConfig().policy)
    add("--budget", type=int, default=MemoryConfig().total_budget, help="tokens in all layers")
    add("--dtype", choices=PRECISIONS, default="auto", help="storage of keys and values")
    add("--precision", choices=("bf16", "fp32"), default="bf16", help="of the network")
    add("--frames", type=int, default=FRAMES, help="the frame that is counted")
    add("--points", action="store_true", help="run the point head too")
    add("--lines", type=int, default=0, help="also list so many lines of code with most operations")
    options = parser.parse_args()
    memory = MemoryConfig(
        policy=options.policy,
        total_budget=options.budget,
        dtype=options.dtype,
    )
    frame = measure(
        MODELS[options.model](),
        memory,
        tuple(options.size),
        half=options.precision == "bf16",
        frames=options.frames,
        points=options.points,
    )
    print(table(frame))
    by_line = sorted(frame.recorder.sites.items(), key=lambda item: -item[1].total())
    for (stage, line), operations in by_line[: options.lines]:
        print(f"{operations.total():5} {stage}, {line}: {dict(operations)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
