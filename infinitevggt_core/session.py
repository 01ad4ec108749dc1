"""A stream: one frame in, one prediction out, and a memory that never grows past its budget.

This is InfiniteVGGT (arXiv 2601.02281): the tokens of the first frames are anchors and stay; a
layer over its budget forgets the keys most like the mean key; the budget is split over the layers
by how diverse their keys are. All state of a stream lives here; the model holds weights only, so
any number of sessions can share one.
"""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.attention import attend_all
from infinitevggt_core.camera_head import ITERATIONS
from infinitevggt_core.memory import MemoryConfig, RollingMemory, camera_policy, token_policy
from infinitevggt_core.memory.precision import Plain, Precision, precision_of
from infinitevggt_core.prediction import Prediction
from infinitevggt_core.vggt import VGGT

CAMERA_PRECISION = Plain(torch.float32)


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
        self._memories: list[RollingMemory] = []  # one a stream: streams forget independently
        self._camera_memory = self._new_camera_memory()
        self._interrupted = False

    @torch.no_grad()
    def push(self, image: Tensor) -> Prediction:
        """The next frame of the stream.

        image: [3, H, W] or [B, 3, H, W], float in [0, 1], sides multiples of the patch size, the
        shape that of the frames before. Returns [B, ...]. Raises ValueError for another image,
        which leaves the stream as it was, and RuntimeError after a push that was interrupted.
        """
        images = self._checked(image)
        frame, tokens = self.frame_index, self._tokens_per_frame(images.shape)
        if frame == 0:
            self._open(images)
        self._interrupted = True

        for memory in self._memories:
            memory.begin_frame(frame, tokens)  # splits the budget by the last frame's scores
        self._camera_memory.begin_frame(frame, self._camera_tokens)

        levels = self.model.aggregator(images[:, None], self._attend, self.model.levels, frame == 0)
        pose = self.model.camera_head(levels[self.model.config.depth - 1], self._attend_camera)
        size = (images.shape[-2], images.shape[-1])
        depth, depth_confidence = self.model.depth_head(levels, size)
        point_maps = self.model.point_head(levels, size) if self.points else ()

        for memory in [*self._memories, self._camera_memory]:
            memory.end_frame()
        self.frame_index += 1
        self._interrupted = False
        maps = (pose, depth[..., 0], depth_confidence, *point_maps)
        return Prediction(*(frames[:, 0] for frames in maps))

    def _attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """A frame's tokens meet the memory of one global layer; forgetting comes before attention,
        so that a frame may lose tokens of its own."""
        outputs = []
        for memory, query, key, value in zip(
            self._memories, *(torch.split(x, 1) for x in (q, k, v)), strict=True
        ):
            memory.remember(layer, key, value)
            memory.forget(layer)
            outputs.append(_attend_stored(query, *memory.recall(layer)))
        return torch.cat(outputs)

    def _attend_camera(self, iteration: int, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """A camera token meets those of the past, as they were in the same refinement or, shared,
        in all of them."""
        shared = self.memory.camera_memory == "shared"
        layer = block if shared else iteration * self.model.config.camera_trunk_depth + block
        self._camera_memory.remember(layer, k, v)
        return _attend_stored(q, *self._camera_memory.recall(layer))

    @property
    def _camera_tokens(self) -> int:
        """Camera tokens that a frame leaves in each layer of the camera memory."""
        return ITERATIONS if self.memory.camera_memory == "shared" else 1

    def _new_camera_memory(self) -> RollingMemory:
        layers = self.model.config.camera_trunk_depth * ITERATIONS // self._camera_tokens
        policy, anchors = camera_policy(self.memory), self.memory.anchor_frames
        return RollingMemory(layers, policy, CAMERA_PRECISION, anchors)

    def _open(self, images: Tensor) -> None:
        """The first frame fixes the number of streams and the image size."""
        self.check(self.memory, images.shape)
        self._image_shape = tuple(images.shape)
        policy, anchors = token_policy(self.memory), self.memory.anchor_frames
        self._memories = [
            RollingMemory(self.model.config.depth, policy, self._precision, anchors)
            for _ in range(len(images))
        ]

    @property
    def _precision(self) -> Precision:
        return precision_of(self.memory.dtype, self.model.dtype)

    def _tokens_per_frame(self, shape: tuple[int, ...]) -> int:
        return self.model.aggregator.tokens_per_frame(shape[-2], shape[-1])

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

    def _refuse_if_interrupted(self) -> None:
        if self._interrupted:
            raise RuntimeError("the last push was interrupted and left the stream torn: reset() it")

    def check(self, memory: MemoryConfig, image_shape: tuple[int, ...] = ()) -> None:
        """Raise ValueError if the stream cannot go on under `memory`, with the reason.

        image_shape: (..., H, W), for a stream that has seen no frame yet.
        """
        shape = image_shape or self._image_shape
        if shape:
            memory.check_budget(self.model.config.depth, self._tokens_per_frame(shape))
        if self.frame_index > 0 and memory.camera_memory != self.memory.camera_memory:
            raise ValueError("camera_memory cannot change in mid-stream: reset() first")

    def configure(self, memory: MemoryConfig) -> None:
        """Another memory from the next frame on. Raises ValueError, and changes nothing, if it
        cannot work."""
        self.check(memory)
        self.memory = memory
        anchors = memory.anchor_frames
        for stream in self._memories:
            stream.configure(token_policy(memory), self._precision, anchors)
        if self.frame_index:
            self._camera_memory.configure(camera_policy(memory), CAMERA_PRECISION, anchors)
        else:
            self._camera_memory = self._new_camera_memory()

    @property
    def stored_tokens(self) -> list[int]:
        """Tokens now kept per global layer; of several streams, by the one that keeps most."""
        if not self._memories:
            return [0] * self.model.config.depth
        return [max(lengths) for lengths in zip(*(m.lengths for m in self._memories), strict=True)]

    @property
    def layer_scores(self) -> list[list[float]]:
        """Per stream, per global layer: mean cosine similarity with the mean key, at the last
        eviction; 0 before one."""
        return [list(memory.scores) for memory in self._memories]

    @property
    def memory_bytes(self) -> int:
        """Bytes held for the streams, over every cache, free slots included."""
        return sum(memory.nbytes for memory in [*self._memories, self._camera_memory])

    def token_frames(self, layer: int, stream: int = 0) -> Tensor:
        """[heads, tokens] int32, a copy: the frame each kept token of a global layer came from."""
        return self._memories[stream].frames(layer)[0].clone()

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
            "memories": [memory.state_dict() for memory in self._memories],
            "camera_memory": self._camera_memory.state_dict(),
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
        self.configure(MemoryConfig(**state["memory"]))
        if state["image_shape"]:
            self._open(torch.empty(state["image_shape"], device="meta"))
        self.frame_index = state["frame_index"]
        memories = [*self._memories, self._camera_memory]
        saved = [*state["memories"], state["camera_memory"]]
        for memory, part in zip(memories, saved, strict=True):
            memory.load_state_dict(part, self.model.device)


def _attend_stored(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention in the precision the memory is stored in."""
    return attend_all(query.to(keys.dtype), keys, values).to(query.dtype)
