# SPDX-License-Identifier: Apache-2.0
"""Two pieces of work beside each other on a GPU."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import torch

from infinitevggt_core.model.constants import is_tracing

S = TypeVar("S")
T = TypeVar("T")


def beside(device: torch.device, small: Callable[[], S], large: Callable[[], T]) -> tuple[S, T]:
    """Return the results of both; on a GPU, without gradients, `small` runs on a second stream.

    The second stream begins after all earlier work, and later work waits for it. Both must keep
    what the other one reads alive.
    """
    if device.type != "cuda" or torch.is_grad_enabled() or is_tracing():
        return small(), large()
    main = torch.cuda.current_stream(device)
    side = _side_of(main)
    side.wait_stream(main)
    try:
        with torch.cuda.stream(side):
            one = small()
        return one, large()
    finally:
        main.wait_stream(side)


@lru_cache(maxsize=16)
def _side_of(main: torch.cuda.Stream) -> torch.cuda.Stream:
    """Return the second stream of a stream. It always waits for the first, so that memory of either
    may be freed while the other one still has work that reads it."""
    side: torch.cuda.Stream = torch.cuda.Stream(main.device)  # type: ignore[no-untyped-call]
    return side
