# SPDX-License-Identifier: Apache-2.0
"""A stream: one frame in, one prediction out, and a memory that never grows past its budget.

This is InfiniteVGGT (arXiv 2601.02281): the tokens of the first frames are anchors and stay; a
layer over its budget forgets what says nothing new, which a policy decides (memory/). All state of
a stream lives here; the model holds weights only, so any number of sessions can share one.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory import MemoryConfig
from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.frame import forward_frame
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming.batching import SideBySide
from infinitevggt_core.streaming.latency import LatencyController
from infinitevggt_core.streaming.reanchoring import Alignment

LEFT_AFTER_OOM = 0.75
"""Part of the tokens kept when the device runs out of memory."""


class StreamSession:
    """Streams of one camera each, in step: B streams when the images are [B, 3, H, W]."""

    def __init__(
        self, model: VGGT, memory: MemoryConfig | None = None, *, points: bool = False
    ) -> None:
        """points: also run the point head, which costs as much as the depth head."""
        self.model = model
        self.memory = memory or MemoryConfig()
        self.points = points
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame starts a new world."""
        self.frame_index = 0
        """Frames pushed since the last reset."""
        self._image_shape: tuple[int, ...] = ()
        self._held: StreamMemory | None = None
        self._first_frame = 0  # of the stream that the network sees, see reanchor()
        self._alignment: Alignment | None = None
        self._reanchoring = False
        self._controller: LatencyController | None = None
        self._interrupted = False
        self._said_oom = False

    @torch.no_grad()
    def push(self, image: Tensor) -> Prediction:
        """The next frame of the stream.

        image: [3, H, W] or [B, 3, H, W], float in [0, 1], sides multiples of the patch size, the
        shape that of the frames before. Returns [B, ...]. Raises ValueError for another image,
        which leaves the stream as it was, and RuntimeError after a push that was interrupted.
        """
        images = self._checked(image)
        self._begin(images)
        started_s = time.perf_counter()
        return self._finish(images, self._predict_within_memory(images), started_s)

    def _begin(self, images: Tensor) -> None:
        if self._held is None:
            self._open(tuple(images.shape))
        self._interrupted = True

    def _finish(self, images: Tensor, prediction: Prediction, started_s: float) -> Prediction:
        """In the world of the stream that the user sees."""
        if self._alignment is not None:
            prediction = self._alignment.apply(prediction)
        if self._reanchoring:
            self._start_again(images, prediction)
        self.frame_index += 1
        self._interrupted = False
        self._keep_pace(started_s)
        return prediction

    def _predict_within_memory(self, images: Tensor) -> Prediction:
        while True:
            try:
                return self._predict(images)
            except torch.OutOfMemoryError as error:
                reason = str(error)
            # here, where no traceback keeps the tensors of the frame alive
            self._make_do(reason)

    def _predict(self, images: Tensor) -> Prediction:
        """In the world of the stream that the network sees."""
        held = self._opened
        held.begin_frame(self.frame_index)  # splits the budget by the last frame's scores
        prediction = forward_frame(
            self.model, images, held, starts=self._starts, points=self.points
        )
        held.end_frame()
        return prediction

    @property
    def _starts(self) -> bool:
        """Whether the next frame is the first that the network sees of the stream."""
        return self.frame_index == self._first_frame

    def _make_do(self, reason: str) -> None:
        """The device has no memory for a frame: keep less from now on, so that it can be tried
        again. Raises torch.OutOfMemoryError where there is nothing left to forget."""
        held = self._opened
        held.undo_frame()
        try:
            room = held.shrink(LEFT_AFTER_OOM)
        except MemoryError as error:
            # without this frame the stream goes on, unless it is in two worlds
            self._interrupted = self._reanchoring
            raise torch.OutOfMemoryError(reason) from error
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        if not self._said_oom:
            self._said_oom = True
            warnings.warn(
                f"out of memory on {self.model.device}: a stream keeps {room} tokens from now on; "
                f"a lower total_budget or limit_mb avoids this ({reason})",
                RuntimeWarning,
                stacklevel=4,
            )

    def _undo(self) -> None:
        """Go on without the frame that has begun."""
        self._opened.undo_frame()
        self._interrupted = False
        if not self.frame_index:
            self.reset()  # the next frame may have another shape

    def pin(self) -> int:
        """Make the latest frame an anchor: what is still held of it is never forgotten. Returns its
        index. Raises ValueError if there is no room for one more."""
        held, frame = self._opened, self.frame_index - 1
        held.pin(held.pinned | {frame})
        return frame

    def unpin(self, frame: int | None = None) -> None:
        """Make a pinned frame, or all of them, an ordinary one."""
        held = self._opened
        if frame is not None and frame not in held.pinned:
            raise ValueError(f"frame {frame} is not pinned; pinned are: {sorted(held.pinned)}")
        held.pin(frozenset() if frame is None else held.pinned - {frame})

    def reanchor(self) -> None:
        """Start a new stream at the next frame, and go on giving predictions in the old world.

        The further a stream is from its anchors, the more it drifts; here the next frame becomes
        the first of a new stream, with an empty memory. It is seen twice, by the old stream and by
        the new: its pose in both gives the rotation and translation between their worlds, its depth
        in both the scale between their units. What comes after is brought into the old world by
        them, so that poses and points go on without a jump. Pinned frames are gone.
        """
        self._reanchoring = self._held is not None

    def _start_again(self, images: Tensor, seen: Prediction) -> None:
        """The frame that was `seen` by the old stream is the first of a new one."""
        self._first_frame = self.frame_index
        self._held = self._memory_for(self.memory, self._image_shape)
        self._set_pace(self._held)
        self._alignment = Alignment.between(self._predict_within_memory(images), seen)
        self._reanchoring = False

    def _open(self, image_shape: tuple[int, ...]) -> None:
        """The first frame fixes the number of streams and the image size."""
        self._held = self._memory_for(self.memory, image_shape)
        self._image_shape = image_shape
        self._set_pace(self._held)

    @property
    def _opened(self) -> StreamMemory:
        if self._held is None:
            raise ValueError("the stream has seen no frame yet")
        return self._held

    def _memory_for(self, memory: MemoryConfig, image_shape: tuple[int, ...]) -> StreamMemory:
        streams, _, height, width = image_shape
        tokens = self.model.aggregator.tokens_per_frame(height, width)
        model = self.model
        return StreamMemory(memory, model.config, model.dtype, streams, tokens, self._first_frame)

    def _set_pace(self, held: StreamMemory) -> None:
        """Start or stop holding a time per frame."""
        before, target_ms = self._controller, self.memory.target_ms
        self._controller = LatencyController(target_ms, *held.budget_range) if target_ms else None
        if self._controller is not None and before is not None:
            self._controller.resume(before.budget)
        held.aim(UNLIMITED if self._controller is None else self._controller.budget)

    def _keep_pace(self, started_s: float) -> None:
        if self._controller is None or self._held is None:
            return
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        frame_ms = 1e3 * (time.perf_counter() - started_s)
        self._controller.update(frame_ms, sum(self._held.lengths))
        self._held.aim(self._controller.budget)

    def _checked(self, image: Tensor) -> Tensor:
        self._refuse_if_interrupted()
        images = image[None] if image.ndim == 3 else image
        self.model.check_images(images, dims=4)
        if self._image_shape and tuple(images.shape) != self._image_shape:
            raise ValueError(
                f"this stream takes images {self._image_shape}, got {tuple(images.shape)}: "
                "reset() it or open another session"
            )
        if not images.isfinite().all():  # one such pixel would stay in the anchors for good
            raise ValueError("the image holds values that are not finite")
        return images.to(self.model.device)

    @property
    def is_interrupted(self) -> bool:
        """Whether a push broke off and left the stream torn: only a reset helps."""
        return self._interrupted

    def _refuse_if_interrupted(self) -> None:
        if self._interrupted:
            raise RuntimeError("the last push was interrupted and left the stream torn: reset() it")

    def check(self, memory: MemoryConfig) -> None:
        """Raise ValueError if the stream cannot go on under `memory`, with the reason."""
        if self._held is None:
            return
        if memory.camera_memory != self.memory.camera_memory:
            raise ValueError("camera_memory cannot change in mid-stream: reset() first")
        self._held.check(memory)

    def configure(self, memory: MemoryConfig) -> None:
        """Another memory from the next frame on. Raises ValueError, and changes nothing, if it
        cannot work."""
        self.check(memory)
        if memory == self.memory:
            return
        self.memory = memory
        if self._held is not None:
            self._held.configure(memory)
            self._set_pace(self._held)

    def to(self, device: torch.device | str) -> None:
        """Take the weights, which other sessions may share, and all that is held to another device;
        the stream goes on there as if it had always been. Raises RuntimeError or ValueError, and
        changes nothing, where that has no room."""
        before = self.model.device
        try:
            self.model.to(device)  # first: that leaves room on a full device for the snapshot
            self.load_state_dict(self.state_dict())
        except (RuntimeError, ValueError):
            self.model.to(before)
            raise
        torch.cuda.empty_cache()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(B, 3, H, W) of every image; empty before the first."""
        return self._image_shape

    @property
    def stored_tokens(self) -> list[int]:
        """Tokens now kept per global layer; of several streams, by the one that keeps most."""
        return [0] * self.model.config.depth if self._held is None else self._held.lengths

    @property
    def budget(self) -> int:
        """Tokens per stream that may be kept now, over all global layers: what the policy wants, as
        far as `limit_mb` and the device have room and `target_ms` has time. Before the first frame
        `total_budget`."""
        return self.memory.total_budget if self._held is None else self._held.budget

    @property
    def layer_scores(self) -> list[list[float]]:
        """Per stream, per global layer: mean cosine similarity with the mean key, at the last
        eviction; 0 before one."""
        return [] if self._held is None else [stream.scores for stream in self._held.streams]

    @property
    def memory_bytes(self) -> int:
        """Bytes held for the streams, over every cache, free slots included."""
        return 0 if self._held is None else self._held.nbytes

    def token_frames(self, layer: int, stream: int = 0) -> Tensor:
        """[heads, tokens] int32, a copy: the frame each kept token of a global layer came from."""
        return self._opened.streams[stream].frames(layer)[0].clone()

    def state_dict(self) -> dict[str, Any]:
        """A snapshot; `load_state_dict` goes on from it as if the stream had never stopped.

        Plain numbers and tensors: `torch.load(weights_only=True)` reads it back.
        """
        self._refuse_if_interrupted()
        return {
            "model": asdict(self.model.config),
            "memory": asdict(self.memory),
            "frame_index": self.frame_index,
            "image_shape": self._image_shape,
            "first_frame": self._first_frame,
            "reanchoring": self._reanchoring,
            "paced_budget": None if self._controller is None else self._controller.budget,
            "alignment": None if self._alignment is None else self._alignment.state_dict(),
            "held": None if self._held is None else self._held.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a snapshot of a session with the same model; keys and values are converted to
        the precision this one stores. Raises ValueError, and changes nothing, if it does not
        fit."""
        resumed = StreamSession(self.model, points=self.points)
        try:
            resumed._resume(state)
        except (KeyError, TypeError, RuntimeError, AttributeError, IndexError) as error:
            raise ValueError(f"not a snapshot of a stream: {error!r}") from error
        vars(self).update(vars(resumed))

    def _resume(self, state: dict[str, Any]) -> None:
        if state["model"] != asdict(self.model.config):
            raise ValueError(
                f"the snapshot is of another network: {state['model']}; this is {self.model.config}"
            )
        self.memory = MemoryConfig(**state["memory"])
        self.frame_index, self._first_frame = state["frame_index"], state["first_frame"]
        self._reanchoring = state["reanchoring"]
        device = self.model.device
        if state["alignment"] is not None:
            self._alignment = Alignment(**{k: v.to(device) for k, v in state["alignment"].items()})
        if state["held"] is not None:
            self._open(tuple(state["image_shape"]))
            self._opened.load_state_dict(state["held"], device)
            if self._controller is not None:
                self._controller.resume(state["paced_budget"])
                self._opened.aim(self._controller.budget)


@torch.no_grad()
def push_together(sessions: Sequence[StreamSession], images: Sequence[Tensor]) -> list[Prediction]:
    """The next frame of each of several sessions, as `push` gives it but for rounding. Those of one
    network and image shape are computed in one forward: all that have begun, and all that begin.

    Raises ValueError, and leaves the streams as they were, if one of the images is refused. What
    else is raised leaves them without this frame: each can be pushed by itself then.
    """
    checked = [session._checked(image) for session, image in zip(sessions, images, strict=True)]
    begun: list[StreamSession] = []
    started_s = time.perf_counter()
    try:
        for session, frames in zip(sessions, checked, strict=True):
            session._begin(frames)
            session._opened.begin_frame(session.frame_index)
            begun.append(session)
        predictions = _predict_together(sessions, checked)
    except Exception as error:
        for session in begun:
            session._undo()
        if not isinstance(error, torch.OutOfMemoryError):
            raise
        predictions = []
    if not predictions:  # one after another they may have room, or make it
        return [session.push(image) for session, image in zip(sessions, images, strict=True)]
    return [
        session._finish(frames, prediction, started_s)
        for session, frames, prediction in zip(sessions, checked, predictions, strict=True)
    ]


def _predict_together(sessions: Sequence[StreamSession], images: list[Tensor]) -> list[Prediction]:
    """For each session, of which the frame has begun."""
    groups: dict[object, list[int]] = {}
    for index, (session, image) in enumerate(zip(sessions, images, strict=True)):
        kind = (id(session.model), session._starts, image.shape[1:], session.points)
        groups.setdefault(kind, []).append(index)
    predictions: dict[int, Prediction] = {}
    for group in groups.values():
        members, frames = [sessions[index] for index in group], [images[index] for index in group]
        predictions.update(zip(group, _predict_abreast(members, frames), strict=True))
    return [predictions[index] for index in range(len(sessions))]


def _predict_abreast(sessions: list[StreamSession], images: list[Tensor]) -> list[Prediction]:
    if len(sessions) == 1:
        return [sessions[0]._predict(images[0])]
    first, memories = sessions[0], [session._opened for session in sessions]
    together = SideBySide(memories)
    batch = torch.cat(images)  # (B of all, 3, H, W)
    found = forward_frame(first.model, batch, together, starts=first._starts, points=first.points)
    for memory in memories:
        memory.end_frame()
    return together.split(found)
