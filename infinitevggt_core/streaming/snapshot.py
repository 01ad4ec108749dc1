# SPDX-License-Identifier: Apache-2.0
"""State of a stream, and its snapshots."""

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.memory import MemoryConfig
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming.latency import Pacing
from infinitevggt_core.streaming.reanchoring import Alignment, Overlap
from infinitevggt_core.streaming.segment import Segment


@dataclass
class StreamState:
    """Everything that belongs to a stream and is cleared by a reset."""

    frame_index: int = 0
    """Frames seen since the last reset."""
    image_shape: tuple[int, ...] = ()
    """(B, 3, H, W); empty before the first frame."""
    segment: Segment | None = None
    """Stream of the network; None before the first frame."""
    alignment: Alignment | None = None
    """Transform from the stream of the network to the world; None if they are the same."""
    reanchor_overlap: int = 0
    """Length of the overlap that starts with the next frame; 0 if none does."""
    overlap: Overlap | None = None
    """Frames seen by the present stream of the network and by the next one."""
    revised: list[Prediction] = field(default_factory=list)
    """Predictions of the new stream for the overlap that the latest frame completed."""
    pacing: Pacing = field(default_factory=Pacing)
    images: Tensor | None = None
    """Images of the frame that has begun."""
    is_interrupted: bool = False
    """True if a frame has begun and not ended."""
    has_warned: bool = False
    """True if lack of memory was reported."""


def save(state: StreamState, model: VGGT, memory: MemoryConfig) -> dict[str, Any]:
    """Return a snapshot of plain numbers and tensors."""
    return {
        "model": asdict(model.config),
        "memory": asdict(memory),
        "frame_index": state.frame_index,
        "image_shape": state.image_shape,
        "reanchor_overlap": state.reanchor_overlap,
        "paced_budget": state.pacing.tokens,
        "alignment": None if state.alignment is None else state.alignment.state_dict(),
        "segment": None if state.segment is None else state.segment.state_dict(),
        "overlap": None if state.overlap is None else state.overlap.state_dict(),
    }


def load(snapshot: dict[str, Any], model: VGGT) -> tuple[StreamState, MemoryConfig]:
    """Return the state and the settings of a snapshot. Raises ValueError if it does not fit."""
    try:
        return _load(snapshot, model)
    except (KeyError, TypeError, RuntimeError, AttributeError, IndexError) as error:
        raise ValueError(f"not a snapshot of a stream: {error!r}") from error


def _load(snapshot: dict[str, Any], model: VGGT) -> tuple[StreamState, MemoryConfig]:
    if ModelConfig(**snapshot["model"]) != model.config:
        raise ValueError(
            f"the snapshot is of another network: {snapshot['model']}; this is {model.config}"
        )
    memory = MemoryConfig(**snapshot["memory"])
    state = StreamState(snapshot["frame_index"], tuple(snapshot["image_shape"]))
    state.reanchor_overlap = snapshot["reanchor_overlap"]
    if snapshot["alignment"] is not None:
        parts = {k: v.to(model.device) for k, v in snapshot["alignment"].items()}
        state.alignment = Alignment(**parts)
    if snapshot["segment"] is not None:
        state.segment = _segment(snapshot["segment"], model, memory, state.image_shape)
        state.pacing.configure(memory.target_ms, state.segment.memory.budget)
        state.pacing.resume(snapshot["paced_budget"])
        state.segment.memory.limit_latency(state.pacing.tokens)
    if snapshot["overlap"] is not None:
        saved = snapshot["overlap"]
        segment = _segment(saved["segment"], model, memory, state.image_shape)
        state.overlap = Overlap(segment, saved["frames"])
        state.overlap.load_state_dict(saved)
    return state, memory


def _segment(
    saved: dict[str, Any], model: VGGT, memory: MemoryConfig, image_shape: tuple[int, ...]
) -> Segment:
    segment = Segment(model, memory, image_shape, saved["first_frame"])
    segment.load_state_dict(saved)
    return segment
