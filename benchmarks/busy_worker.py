# SPDX-License-Identifier: Apache-2.0
"""Stream of `tiny` for benchmarks.busy: each line of standard input is a number of frames, and is
answered by their times in milliseconds, a JSON list."""

import json
import sys
import time

import torch

from benchmarks.contest import noise
from infinitevggt_core import MemoryConfig, StreamSession, load_checkpoint

SIZE = (84, 112)
BUDGET = 6360
"""Tokens of ten frames."""


def main() -> None:
    session = StreamSession(load_checkpoint("tiny"), MemoryConfig(total_budget=BUDGET))
    images = noise(SIZE, torch.device("cpu"))
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            image, started = next(images), time.perf_counter()
            session.push(image)
            times.append(1e3 * (time.perf_counter() - started))
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
