# SPDX-License-Identifier: Apache-2.0
"""Records the operations of a program on tensors that have shapes but no numbers.

On the device "meta" the real code runs in seconds, whatever the size of the network. The recorder
counts operations, FLOP, bytes moved and bytes held. Counts are exact, times are estimates.
"""

import sys
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from infinitevggt_core import VGGT
from infinitevggt_core.memory import kv_cache
from infinitevggt_core.streaming import segment

TFLOPS = {torch.bfloat16: 600.0, torch.float32: 50.0}
"""Attainable rate of matrix products on an H100."""
BANDWIDTH_TB = 3.0
"""Attainable memory bandwidth of an H100, TB/s."""
SHORTEST_US = 2.0
"""Time of the smallest kernel."""
GRANULE = 512
"""Bytes to which PyTorch's CUDA allocator rounds up."""

PACKAGE = "/infinitevggt_core/"
FREE = {
    "aten.alias.default",
    "aten.detach.default",
    "aten.empty.memory_format",
    "aten.empty_like.default",
    "aten.empty_strided.default",
    "aten.lift_fresh.default",
    "aten.new_empty.default",
    "aten.new_empty_strided.default",
    "aten._local_scalar_dense.default",
    "aten._reshape_alias.default",
    "aten.scalar_tensor.default",
    "aten._unsafe_view.default",
    "aten.view.default",
}
"""Views and allocations that launch nothing."""
GATHERS = {"aten.index_select.default", "aten.gather.default", "aten.index.Tensor"}
ATTENTION = "scaled_dot_product"


@dataclass
class Cost:
    """Cost of a stage."""

    operations: Counter[str] = field(default_factory=Counter)
    """Number of calls by operation."""
    flop: int = 0
    bytes: int = 0
    """Bytes read and written."""
    seconds: float = 0.0
    """Estimated time on the device: of each operation the longest of its FLOP, bytes and launch."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.operations + other.operations,
            self.flop + other.flop,
            self.bytes + other.bytes,
            self.seconds + other.seconds,
        )


class Recorder(TorchDispatchMode):
    """Sees every operation on tensors of the device "meta"."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = True
        """False: only bytes held are counted, which is faster."""
        self.stages = ["rest"]
        """Stages that run, the innermost last."""
        self.live = 0
        """Bytes held now."""
        self.peak = 0
        """Most bytes held since `reset`."""
        self._storages: dict[int, weakref.ref[Any]] = {}
        self.reset()

    def reset(self) -> None:
        """Start counting anew; what is held stays counted."""
        self.costs: dict[str, Cost] = defaultdict(Cost)
        self.sites: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        """Operations by stage and line of code."""
        self.peak = self.live

    @property
    def total(self) -> Cost:
        return sum(self.costs.values(), Cost())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return args[0].dtype == torch.bool or (1.0 if args[0].is_floating_point() else 1)
        out = func(*args, **kwargs)
        outputs = [x for x in tree_leaves(out) if isinstance(x, Tensor) and x.is_meta]
        for output in outputs:
            self._hold(output)
        if self.counts and outputs and not func.is_view:
            self._count(func, args, kwargs, outputs, out)
        return out

    def _count(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        out: Any,
    ) -> None:
        name = str(func)
        if name in FREE or name.startswith("prim."):
            return
        leaves = tree_leaves((args, kwargs))
        inputs = [x for x in leaves if isinstance(x, Tensor) and x.is_meta]
        written = [x for x in outputs if not any(x is y for y in inputs)]
        moved = sum(map(_nbytes, inputs)) + sum(map(_nbytes, written))
        if name in GATHERS:
            moved = 2 * sum(map(_nbytes, outputs)) + sum(map(_nbytes, inputs[1:]))
        elif name == "aten.index_copy_.default":
            moved = 2 * _nbytes(inputs[2]) + _nbytes(inputs[1])
        flop = _flop(func, name, args, kwargs, out)
        is_half = any(x.dtype == torch.bfloat16 for x in inputs)
        rate = 1e12 * TFLOPS[torch.bfloat16 if is_half else torch.float32]
        stage = self._stage(name)
        cost = self.costs[stage]
        cost.operations[name] += 1
        cost.flop += flop
        cost.bytes += moved
        cost.seconds += max(flop / rate, moved / (1e12 * BANDWIDTH_TB), 1e-6 * SHORTEST_US)
        self.sites[stage, _line()][name] += 1

    def _stage(self, operation: str) -> str:
        """The stage of a module, or of the memory by what runs."""
        functions = [f.f_code.co_name for f in _stack() if "/memory/" in f.f_code.co_filename]
        if not functions:
            return self.stages[-1]
        if ATTENTION in operation:
            return "memory: attention"
        evicts = any(word in name for name in functions for word in ("evict", "end_frame"))
        return "memory: evict" if evicts else "memory: store"

    def _hold(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        key, size = storage._cdata, -(-storage.nbytes() // GRANULE) * GRANULE
        if key in self._storages:
            return

        def release(_: Any) -> None:
            self.live -= size
            self._storages.pop(key, None)

        self.live += size
        self.peak = max(self.peak, self.live)
        self._storages[key] = weakref.ref(storage, release)


@contextmanager
def recording() -> Iterator[Recorder]:
    """While this lasts a stream on the device "meta" runs as it does on a GPU."""
    with ExitStack() as stack:
        patch = stack.enter_context
        patch(mock.patch.object(kv_cache, "LateValues", NeverArrived))
        patch(mock.patch.object(F, "scaled_dot_product_attention", _fused_attention))
        patch(mock.patch.object(segment, "can_record", return_value=True))
        yield patch(Recorder())


def _fused_attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """PyTorch's fused kernel, which it takes on CUDA but not on "meta"."""
    if q.dtype == torch.float32 or attn_mask is not None:
        bias = None if attn_mask is None else attn_mask.expand(*q.shape[:3], k.shape[2])
        return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, False)[0]
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]


class NeverArrived:
    """Scores on their way to the host that never come: budgets stay where they are."""

    def __init__(self, values: dict[int, Tensor]) -> None:
        assert all(value.ndim == 0 for value in values.values())

    def read(self) -> dict[int, float]:
        return {}


@contextmanager
def stages_of(recorder: Recorder, model: VGGT) -> Iterator[None]:
    """Count what runs in a part of the network as that stage."""
    parts = [
        (model.aggregator.patch_embed, "encoder"),
        (model.camera_head, "camera head"),
        (model.depth_head, "depth head"),
        *([(model.point_head, "point head")] if model.config.point_head else []),
        *((block, "frame blocks") for block in model.aggregator.frame_blocks),
        *((block, "global blocks") for block in model.aggregator.global_blocks),
    ]
    hooks = []
    for module, stage in parts:

        def enter(*_: Any, stage: str = stage) -> None:
            recorder.stages.append(stage)

        def leave(*_: Any) -> None:
            recorder.stages.pop()

        hooks.append(module.register_forward_pre_hook(enter))
        hooks.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _nbytes(x: Tensor) -> int:
    """Bytes that reading x moves; an expanded dimension is read once."""
    count = 1
    for size, stride in zip(x.shape, x.stride(), strict=True):
        count *= size if stride else 1
    return count * x.element_size()


def _flop(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    formula = flop_registry.get(func._overloadpacket)
    if formula is None:
        return 0
    if "mm.dtype" in name:  # its formula knows no output type
        return int(formula(*args[:2], out_val=out))
    return int(formula(*args, **kwargs, out_val=out))


def _stack() -> Iterator[FrameType]:
    """Frames of the package's code, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if PACKAGE in frame.f_code.co_filename:
            yield frame
        frame = frame.f_back


def _line() -> str:
    frame = next(_stack(), None)
    if frame is None:
        return "?"
    return f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"
