# SPDX-License-Identifier: Apache-2.0
"""Processor time of a frame by PyTorch and by ONNX Runtime, one thread, and what the graph takes.

Streams of both engines alternate; a ratio is that of two blocks, one after the other. Exports the
graph first if the cache has none.

Example: python -m benchmarks.engines --checkpoint tiny --policies frames importance window
"""

import argparse
import statistics
import sys
import time
from typing import Any

import torch

from infinitevggt_core import VGGT, MemoryConfig, StreamSession, load_checkpoint
from infinitevggt_core.streaming import onnx_decoder
from infinitevggt_core.streaming.onnx_decoder import use_engine

SIZE = (84, 112)
BLOCK = 20


class TimedGraph:
    """Graph that adds up its processor time."""

    def __init__(self, graph: Any) -> None:
        self._graph, self.seconds = graph, 0.0

    def run(self, *arguments: Any) -> Any:
        start = time.process_time()
        outputs = self._graph.run(*arguments)
        self.seconds += time.process_time() - start
        return outputs


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--policies", nargs="+", default=["frames"])
    parser.add_argument("--held", type=int, default=20, help="frames held (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=7, help="of 20 frames of each engine")
    options = parser.parse_args()
    torch.set_num_threads(1)
    graphs: list[TimedGraph] = []
    open_graph = onnx_decoder.open_graph

    def opened(*arguments: Any) -> TimedGraph:
        graphs.append(TimedGraph(open_graph(*arguments)))
        return graphs[-1]

    onnx_decoder.open_graph = opened
    models = {name: load_checkpoint(options.checkpoint) for name in ("torch", "onnx")}
    for name, model in models.items():
        use_engine(model, name, threads=1)
    for policy in options.policies:
        print(
            measured(models, memory(models["torch"], policy, options.held), graphs, options.blocks)
        )
    return 0


def memory(model: VGGT, policy: str, held: int) -> MemoryConfig:
    """Return a memory that holds so many frames."""
    tokens = held * model.config.depth * model.aggregator.tokens_per_frame(*SIZE)
    return MemoryConfig(policy=policy, total_budget=tokens, window=min(held, MemoryConfig().window))


def measured(
    models: dict[str, VGGT], memory: MemoryConfig, graphs: list[TimedGraph], blocks: int
) -> str:
    """Return one line: ms of both engines, their ratio, and the graph's share."""
    images = torch.rand(BLOCK, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    sessions = {name: StreamSession(model, memory) for name, model in models.items()}
    for session in sessions.values():
        for index in range(2 * BLOCK):
            session.push(images[index % BLOCK])
    [graph] = graphs
    graph.seconds = 0.0
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(blocks):
        for name, session in sessions.items():
            start = time.process_time()
            for image in images:
                session.push(image)
            times[name].append((time.process_time() - start) / BLOCK)
    pairs = zip(times["onnx"], times["torch"], strict=True)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    share = graph.seconds / BLOCK / sum(times["onnx"])
    torch_ms, onnx_ms = (1e3 * statistics.median(times[name]) for name in ("torch", "onnx"))
    return (
        f"{memory.policy}: torch {torch_ms:.1f} ms, onnx {onnx_ms:.1f} ms, ratio {ratio:.2f}; "
        f"the graph takes {share:.0%} of the latter"
    )


if __name__ == "__main__":
    sys.exit(main())
