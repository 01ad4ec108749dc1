# SPDX-License-Identifier: Apache-2.0
"""Several sessions in one forward of the network."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.streaming.session import StreamSession


class MemoryBatch:
    """Memories of several sessions as one `Context`: each sees its own part of the batch."""

    def __init__(self, memories: Sequence[StreamMemory]) -> None:
        self._memories = memories
        self._streams = [len(memory.streams) for memory in memories]

    @property
    def start_frames(self) -> int:
        """Number of frames that start their streams together, the same in all sessions."""
        return self._memories[0].start_frames

    @property
    def indices(self) -> list[int]:
        """Temporal index of the first frame of each stream."""
        return [index for memory in self._memories for index in memory.indices]

    def position(self, device: torch.device) -> None:
        """Return None: sessions may be at different frames."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend the memories of one global layer."""
        return self._each(lambda memory, *own: memory.attend(layer, *own), q, k, v)

    def attend_camera(self, iteration: int, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend the past camera tokens of each session."""
        return self._each(
            lambda memory, *own: memory.attend_camera(iteration, block, *own), q, k, v
        )

    @property
    def watches_updates(self) -> bool:
        """True if one of the policies needs `observe`."""
        return any(memory.watches_updates for memory in self._memories)

    def observe(self, layer: int, updates: Tensor) -> None:
        """Observe the output of a global block's feed-forward part, (B, tokens, dim)."""
        for memory, own in zip(self._memories, torch.split(updates, self._streams), strict=True):
            if memory.watches_updates:
                memory.observe(layer, own)

    def split(self, prediction: Prediction) -> list[Prediction]:
        """Return the part of each session."""
        parts = {k: torch.split(v, self._streams) for k, v in prediction.tensors().items()}
        return [
            Prediction(**{name: part[i] for name, part in parts.items()})
            for i in range(len(self._streams))
        ]

    def _each(self, attend: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        parts = zip(*(torch.split(tensor, self._streams) for tensor in tensors), strict=True)
        return torch.cat(
            [attend(memory, *own) for memory, own in zip(self._memories, parts, strict=True)]
        )


@torch.no_grad()
def push_together(sessions: Sequence[StreamSession], images: Sequence[Tensor]) -> list[Prediction]:
    """Decode the next frame of each of several sessions, with the results of `push` but for
    rounding. Sessions of one network and image shape share a forward: all that have started, and
    all that start.

    Raises ValueError, and leaves the streams unchanged, if one of the images is refused. After any
    other error the frame is missing in all of them, and each can be pushed by itself.
    """
    for session, image in zip(sessions, images, strict=True):
        session.check_image(image)
    begun: list[StreamSession] = []
    try:
        clips = []
        for session, image in zip(sessions, images, strict=True):
            clips.append(session.begin(image))
            begun.append(session)
        predictions = _decode_groups(sessions, clips)
    except Exception as error:
        for session in begun:
            session.cancel()
        if not isinstance(error, torch.OutOfMemoryError):
            raise
        predictions = []
    if not predictions:  # one after another they may have room, or make it
        return [session.push(image) for session, image in zip(sessions, images, strict=True)]
    return [
        session.complete(prediction)
        for session, prediction in zip(sessions, predictions, strict=True)
    ]


def _decode_groups(sessions: Sequence[StreamSession], clips: list[Tensor]) -> list[Prediction]:
    """Return the predictions [B, S, ...] of sessions that have begun a frame."""
    groups: dict[object, list[int]] = {}
    for index, (session, clip) in enumerate(zip(sessions, clips, strict=True)):
        is_start = session.segment.memory.start_frames > 0
        kind = (id(session.model), is_start, clip.shape[1:], session.points)
        groups.setdefault(kind, []).append(index)
    predictions: dict[int, Prediction] = {}
    for group in groups.values():
        members, frames = [sessions[index] for index in group], [clips[index] for index in group]
        predictions.update(zip(group, _decode_group(members, frames), strict=True))
    return [predictions[index] for index in range(len(sessions))]


def _decode_group(sessions: list[StreamSession], clips: list[Tensor]) -> list[Prediction]:
    first = sessions[0]
    if len(sessions) == 1:
        return [first.segment.decode(clips[0], first.points)]
    batch = MemoryBatch([session.segment.memory for session in sessions])
    return batch.split(first.model.decode(torch.cat(clips), batch, points=first.points))
