# SPDX-License-Identifier: Apache-2.0
"""A stream: one frame in, one prediction out, with a memory that never exceeds its budget.

This is InfiniteVGGT (arXiv 2601.02281): the tokens of the first frames are anchors and stay; a
layer over its budget evicts tokens by the score of a policy (memory/). A session holds all state of
its streams, the model only weights; any number of sessions can share a model.
"""

from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.memory import MemoryConfig
from infinitevggt_core.model.late_tensors import moved
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming import snapshot
from infinitevggt_core.streaming.inspection import SessionView
from infinitevggt_core.streaming.memory_pressure import decode_within_memory
from infinitevggt_core.streaming.reanchoring import Overlap
from infinitevggt_core.streaming.segment import Segment
from infinitevggt_core.streaming.snapshot import StreamState


class StreamSession(SessionView):
    """Streams of one camera each, in step: B streams if the images are [B, 3, H, W]."""

    def __init__(
        self, model: VGGT, memory: MemoryConfig | None = None, *, points: bool = False
    ) -> None:
        """points: also run the point head, which costs as much as the depth head. Raises ValueError
        if the network has none."""
        if points:
            model.check_point_head()
        self.model = model
        self.memory = memory or MemoryConfig()
        self.points = points
        self.reset()

    def reset(self) -> None:
        """Clear the memory: the next frame starts a new world."""
        self._state = StreamState()

    @torch.no_grad()
    def push(self, image: Tensor) -> Prediction:
        """Decode the next frame of the stream.

        image: [3, H, W] or [B, 3, H, W], float in [0, 1], sides multiples of the patch size, the
        same shape for all frames. Returns [B, ...]. Raises ValueError for another image, which
        leaves the stream unchanged, and RuntimeError after an interrupted push.
        """
        clip = self.begin(image)
        return self.complete(self._decode(self.segment, clip))

    def begin(self, image: Tensor) -> Tensor:
        """Prepare the memory for the next frame and return the frames to decode, [B, S, 3, H, W]:
        the first of the two halves of `push`, between which `push_together` decodes many sessions
        at once."""
        images, state = self._checked(image), self._state
        if state.segment is None:
            self._open(tuple(images.shape))
        self._reanchor_if_due()
        state.images, state.is_interrupted = images, True
        state.revised = []
        state.pacing.start()
        self.segment.memory.limit_latency(state.pacing.tokens)
        return self.segment.begin(images)

    def complete(self, prediction: Prediction) -> Prediction:
        """Return the prediction for the frame that has begun, in the world of the first frame.

        prediction: [B, S, ...] for the frames that `begin` returned.
        """
        state = self._state
        self.segment.end()
        latest = prediction.frame(-1)
        if state.alignment is not None:
            latest = state.alignment.apply(latest)
        if state.overlap is not None:
            self._see_again(state.overlap, latest)
        state.frame_index += 1
        state.images, state.is_interrupted = None, False
        state.pacing.stop(self.model.device, sum(self.stored_tokens))
        self.segment.memory.limit_latency(state.pacing.tokens)
        return latest

    def cancel(self) -> None:
        """Go on without the frame that has begun."""
        self.segment.undo()
        self._state.images, self._state.is_interrupted = None, False
        if not self.frame_index:
            self.reset()  # the next frame may have another shape

    def _open(self, image_shape: tuple[int, ...]) -> None:
        """Fix the number of streams and the image size."""
        self._state.segment = Segment(self.model, self.memory, image_shape, self.frame_index)
        self._state.image_shape = image_shape
        self._set_pace()

    def _set_pace(self) -> None:
        memory, pacing = self.segment.memory, self._state.pacing
        pacing.configure(self.memory.target_ms, memory.budget)
        memory.limit_latency(pacing.tokens)

    def _decode(self, segment: Segment, clip: Tensor) -> Prediction:
        return decode_within_memory(self._state, segment, clip, self.points)

    def pin(self) -> int:
        """Make the latest stored frame an anchor: its tokens are not evicted any more. Returns the
        number of the frame, as in `token_frames`. Raises ValueError if there is no room for it."""
        memory = self.segment.memory
        frame = memory.latest_stored
        memory.pin(memory.pinned | {frame})
        return frame

    def unpin(self, frame: int | None = None) -> None:
        """Make a pinned frame, or all of them, ordinary frames. Raises ValueError if it is not
        pinned."""
        memory = self.segment.memory
        if frame is not None and frame not in memory.pinned:
            raise ValueError(f"frame {frame} is not pinned; pinned are: {sorted(memory.pinned)}")
        memory.pin(frozenset() if frame is None else memory.pinned - {frame})

    def reanchor(self, overlap: int = 1) -> None:
        """Start a new stream of the network with the next frame, in the same world.

        The further a stream is from its anchors, the more it drifts. The next frame becomes the
        first of a new stream with an empty memory. The next `overlap` frames are decoded in both
        streams, and predictions come from the old one. Then the new stream continues, aligned with
        the world of the old one: by the pose of the last common frame, and by the ratio of depths
        in all of them. Pinned frames become ordinary. A network with a trained range of temporal
        indices is re-anchored automatically before the range ends. Raises ValueError if overlap is
        below 1.
        """
        if overlap < 1:
            raise ValueError(f"overlap must be 1 frame or more; got {overlap}")
        if self._state.segment is not None:
            self._state.reanchor_overlap, self._state.overlap = overlap, None

    def _reanchor_if_due(self) -> None:
        state, segment = self._state, self.segment
        temporal_range, start = self.model.config.temporal_range, segment.start_frames
        is_near_end = segment.memory.stored_frames + start >= temporal_range > 0
        if is_near_end and state.overlap is None and not state.reanchor_overlap:
            state.reanchor_overlap = start
        if state.reanchor_overlap:
            new = Segment(self.model, self.memory, state.image_shape, self.frame_index)
            state.overlap, state.reanchor_overlap = Overlap(new, state.reanchor_overlap), 0

    def _see_again(self, overlap: Overlap, prediction: Prediction) -> None:
        """Decode the frame in the new stream as well, and change to it after the last one."""
        state = self._state
        assert state.images is not None
        overlap.add(state.images, prediction, self.segment.latest_is_stored, self._decode)
        if overlap.is_complete:
            state.alignment, state.revised = overlap.align()
            state.segment, state.overlap = overlap.segment, None
            self._set_pace()

    def check_image(self, image: Tensor) -> None:
        """Raise ValueError if the stream cannot take an image, RuntimeError if it is broken."""
        self._checked(image)

    def _checked(self, image: Tensor) -> Tensor:
        self._refuse_if_interrupted()
        images = image[None] if image.ndim == 3 else image
        self.model.check_images(images, dims=4)
        if self.image_shape and tuple(images.shape) != self.image_shape:
            raise ValueError(
                f"this stream takes images {self.image_shape}, got {tuple(images.shape)}: "
                "reset() it or open another session"
            )
        # one such pixel would stay in the anchors for good; a finite sum has none, at half the time
        if not images.sum().isfinite() and not images.isfinite().all():
            raise ValueError("the image holds values that are not finite")
        return moved(images, self.model.device)

    def _refuse_if_interrupted(self) -> None:
        if self.is_interrupted:
            raise RuntimeError("the last push was interrupted and left the stream broken: reset it")

    def check(self, memory: MemoryConfig) -> None:
        """Raise ValueError, with the reason, if the stream cannot go on under `memory`."""
        if self._state.segment is None:
            return
        if memory.camera_memory != self.memory.camera_memory:
            raise ValueError("camera_memory cannot change in mid-stream: reset() first")
        self.segment.memory.check(memory)

    def configure(self, memory: MemoryConfig) -> None:
        """Change the memory's settings from the next frame on. Raises ValueError, and changes
        nothing, if they cannot work."""
        self.check(memory)
        if memory == self.memory:
            return
        self.memory = memory
        if self._state.segment is not None:
            self.segment.configure(memory)
            self._set_pace()
        if self._state.overlap is not None:
            self._state.overlap.segment.configure(memory)

    def to(self, device: torch.device | str) -> None:
        """Move the weights, which other sessions may share, and the memory to another device.
        Raises RuntimeError or ValueError, and changes nothing, if that has no room."""
        before = self.model.device
        try:
            self.model.to(device)  # first: that leaves room on a full device for the snapshot
            self.load_state_dict(self.state_dict())
        except (RuntimeError, ValueError):
            self.model.to(before)
            raise
        torch.cuda.empty_cache()

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot, from which `load_state_dict` continues bit by bit.

        It consists of plain numbers and tensors: `torch.load(weights_only=True)` reads it back.
        """
        self._refuse_if_interrupted()
        return snapshot.save(self._state, self.model, self.memory)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot of a session with the same network; keys and values are
        converted to the precision of this one. Raises ValueError, and changes nothing, if it does
        not fit."""
        self._state, self.memory = snapshot.load(state, self.model)
