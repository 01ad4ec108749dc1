# SPDX-License-Identifier: Apache-2.0
"""Frames that the network sees as one stream."""

from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.memory import MemoryConfig
from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming.frame_graph import FrameGraph, can_record


class Segment:
    """A stream of the network from its first frame on, with its memory.

    The first `start_frames` frames start it together: each of them is decoded with all before it,
    in a memory that starts again, and sees them all. Later frames are decoded alone. Each frame
    calls `begin`, `decode` and `end`.
    """

    def __init__(
        self, model: VGGT, config: MemoryConfig, image_shape: tuple[int, ...], first_frame: int
    ) -> None:
        """image_shape: (B, 3, H, W). first_frame: number of the first frame.

        Raises ValueError if the memory cannot hold the anchors and one more frame.
        """
        self.model, self.config, self.first_frame = model, config, first_frame
        self.start_frames = config.start_frames or model.config.start_frames
        self.frames = 0
        """Number of frames seen."""
        self.latest_is_stored = True
        """True if the memory holds the latest frame, False if `keyframe_interval` skipped it."""
        self._image_shape = image_shape
        self._start: list[Tensor] = []  # images, as long as more may start with them
        self._since_keyframe = 0
        self._arriving: list[Tensor] = []
        self.graph = FrameGraph(model)
        self._is_evicted = False  # by the graph, before the frame ends
        self.memory = self._new_memory()
        self._memory_before = self.memory

    def _new_memory(self) -> StreamMemory:
        model, (streams, _, height, width) = self.model, self._image_shape
        tokens = model.aggregator.tokens_per_frame(height, width)
        return StreamMemory(
            self.config,
            model.config,
            model.dtype,
            streams,
            tokens,
            self.first_frame,
            self.start_frames,
            is_camera_whole=can_record(model),
        )

    @property
    def is_starting(self) -> bool:
        """True if the next frame is one of those that start the stream together."""
        return self.frames < self.start_frames

    def begin(self, *images: Tensor) -> Tensor:
        """Prepare the memory for the next frame (B, 3, H, W), or for several while the stream
        starts, and return the frames to decode, (B, S, 3, H, W)."""
        self._arriving = list(images)
        self._memory_before, self._is_evicted = self.memory, False
        if self.is_starting:
            clip = [*self._start, *images]
            self.memory = self._new_memory()
            self.memory.pin(self._memory_before.pinned)
            self.memory.begin_frame(len(clip), is_start=True)
            return torch.stack(clip, dim=1) if len(clip) > 1 else clip[0][:, None]
        (image,) = images
        self.memory.begin_frame(is_start=False, is_stored=self._is_keyframe)
        return image[:, None]

    @property
    def _is_keyframe(self) -> bool:
        since = self._since_keyframe  # 0: the first frame after the start
        return since == 0 or since >= self.config.keyframe_interval

    def decode(self, clip: Tensor, points: bool) -> Prediction:
        """Return the prediction [B, S, ...] for the frames that `begin` returned."""
        prediction = self.graph.decode(clip, self.memory, points)
        self._is_evicted = prediction is not None
        decoder = self.model.decoder or self.model
        return prediction or decoder.decode(clip, self.memory, points=points)

    def end(self) -> None:
        """Complete the frames that have begun."""
        self.memory.end_frame(is_evicted=self._is_evicted)
        if self.is_starting:
            self.latest_is_stored = True
            self._start += [image.clone() for image in self._arriving]
        else:
            self.latest_is_stored = self._is_keyframe
            self._since_keyframe = 1 + (0 if self._is_keyframe else self._since_keyframe)
        self.frames += len(self._arriving)
        if not self.is_starting:
            self._start.clear()
        self._arriving.clear()
        self._memory_before = self.memory

    def undo(self) -> None:
        """Go on without the frames that have begun."""
        if self.is_starting:
            self.memory = self._memory_before
        else:
            self.memory.undo_frame()

    def retry(self, share: float) -> int:
        """Begin the current frame again with `share` of the tokens, and return their number. Raises
        MemoryError if too few would be left."""
        images = list(self._arriving)
        self.undo()
        if self.is_starting:
            raise MemoryError("a stream that starts has no tokens to evict")
        tokens = self.memory.shrink(share)
        self.begin(*images)
        return tokens

    def configure(self, config: MemoryConfig) -> None:
        """Change the settings from the next frame on. Raises ValueError, and changes nothing, if
        they cannot work."""
        self.memory.configure(config)
        self.config = config

    @property
    def nbytes(self) -> int:
        """Bytes held, over every cache and for the images of the start."""
        return self.memory.nbytes + sum(image.nbytes for image in self._start)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue."""
        return {
            "first_frame": self.first_frame,
            "start_frames": self.start_frames,
            "frames": self.frames,
            "latest_is_stored": self.latest_is_stored,
            "since_keyframe": self._since_keyframe,
            "start": list(self._start),
            "memory": self.memory.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state. Raises ValueError if it is of another memory."""
        device = self.model.device
        self.start_frames, self.frames = state["start_frames"], state["frames"]
        self.latest_is_stored = state["latest_is_stored"]
        self._since_keyframe = state["since_keyframe"]
        self._start = [image.to(device) for image in state["start"]]
        self.memory.load_state_dict(state["memory"], device)
