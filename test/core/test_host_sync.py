# SPDX-License-Identifier: Apache-2.0
"""A frame on a GPU waits for no number from it, and takes no shape from one: as far as can be told
without a GPU, by tensors that have shapes but no numbers."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensorMode,
    unset_fake_temporarily,
)

from infinitevggt_core import VGGT
from infinitevggt_core.memory import kv_cache
from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.aggregator import image_statistics
from infinitevggt_core.model.heads.dense_head import position_parts
from infinitevggt_core.model.rope import frame_rotation
from infinitevggt_core.streaming.segment import Segment
from support.core_samples import HEIGHT, MEMORIES, SMALL, TOKENS, WIDTH

SIZE = (1, 3, HEIGHT, WIDTH)
ONE_LAYER = replace(SMALL, depth=1, dpt_layers=(0, 0, 0, 0))
FRAMES = 8
"""Number of frames after which every bounded memory has evicted some."""


class NeverArrived:
    """Scores on their way to the host, for which the next frame waits before it begins."""

    def __init__(self, values: dict[int, Tensor]) -> None:
        assert all(value.ndim == 0 for value in values.values())

    def read(self) -> dict[int, float]:
        return {}


@pytest.fixture
def _no_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forbid numbers, except on the host, which allocates the budget before a frame begins."""
    begin = StreamMemory.begin_frame

    def begin_on_the_host(memory: StreamMemory, *args: int, **options: bool) -> None:
        with unset_fake_temporarily():
            begin(memory, *args, **options)

    monkeypatch.setattr(StreamMemory, "begin_frame", begin_on_the_host)
    monkeypatch.setattr(kv_cache, "LateValues", NeverArrived)
    cached = (frame_rotation, image_statistics, position_parts)
    for constants in cached:
        constants.cache_clear()
    with FakeTensorMode():
        yield
    for constants in cached:
        constants.cache_clear()


@pytest.mark.usefixtures("_no_numbers")
@pytest.mark.parametrize("name", MEMORIES)
def test_no_frame_waits_for_a_number(name: str) -> None:
    memory = MEMORIES[name]
    memory = replace(memory, total_budget=memory.total_budget // SMALL.depth)
    segment = Segment(VGGT(ONE_LAYER).eval(), memory, SIZE, first_frame=0)
    with torch.no_grad():
        for _ in range(FRAMES):
            segment.decode(segment.begin(torch.rand(SIZE)), points=False)
            segment.end()
    has_evicted = segment.memory.lengths < [FRAMES * TOKENS]
    assert has_evicted == (name != "full")


@pytest.mark.usefixtures("_no_numbers")
def test_waiting_would_be_noticed() -> None:
    with pytest.raises(DataDependentOutputException):
        torch.rand(3).max().item()
