# SPDX-License-Identifier: Apache-2.0
"""Read-only view of a session: progress, stored tokens, budget and memory."""

from torch import Tensor

from infinitevggt_core.memory import MemoryConfig
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming.segment import Segment
from infinitevggt_core.streaming.snapshot import StreamState


class SessionView:
    """Properties of a session. Reading them changes nothing."""

    model: VGGT
    memory: MemoryConfig
    _state: StreamState

    @property
    def segment(self) -> Segment:
        """Stream of the network. Raises ValueError before the first frame."""
        if self._state.segment is None:
            raise ValueError("the stream has seen no frame yet")
        return self._state.segment

    @property
    def frame_index(self) -> int:
        """Number of frames pushed since the last reset."""
        return self._state.frame_index

    @property
    def is_interrupted(self) -> bool:
        """True if a push was interrupted and left the stream broken; only a reset helps."""
        return self._state.is_interrupted

    @property
    def revised(self) -> list[Prediction]:
        """Predictions of the new stream for the frames of the overlap, in the world, if the latest
        push completed one; else empty."""
        return list(self._state.revised)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(B, 3, H, W) of every image; empty before the first."""
        return self._state.image_shape

    @property
    def stored_tokens(self) -> list[int]:
        """Number of tokens per global layer; of several streams, the largest number."""
        if self._state.segment is None:
            return [0] * self.model.config.depth
        return self.segment.memory.lengths

    @property
    def budget(self) -> int:
        """Most tokens per stream kept now, over all global layers: as many as the policy requests,
        as far as `limit_mb` and the device have room and `target_ms` has time. Before the first
        frame, `total_budget`."""
        if self._state.segment is None:
            return self.memory.total_budget
        return self.segment.memory.budget.tokens

    @property
    def eager_because(self) -> str:
        """Reason why the latest frame ran operation by operation; empty if a graph replayed it, or
        before the first frame."""
        return "" if self._state.segment is None else self.segment.graph.reason

    @property
    def layer_similarity(self) -> list[list[float]]:
        """Per stream and global layer: mean cosine similarity of the keys with their mean key, at
        the last eviction; 0 before one."""
        if self._state.segment is None:
            return []
        return [stream.similarities for stream in self.segment.memory.streams]

    @property
    def memory_bytes(self) -> int:
        """Bytes held for the streams, over every cache, free slots included."""
        holders = (self._state.segment, self._state.overlap)
        return sum(holder.nbytes for holder in holders if holder is not None)

    def token_frames(self, layer: int, stream: int = 0) -> Tensor:
        """Return a copy, [heads, tokens] int32, of the frame of each token of a global layer.
        Frames are counted as they are stored: all of them, unless `keyframe_interval` is set."""
        return self.segment.memory.streams[stream].frames(layer)[0].clone()
