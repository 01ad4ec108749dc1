# SPDX-License-Identifier: Apache-2.0
"""All that a session remembers of its streams: the global layers' tokens and the camera head's."""

from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import UNLIMITED, ModelConfig
from infinitevggt_core.memory import MemoryConfig, RollingMemory, camera_policy, token_policy
from infinitevggt_core.memory.anchors import Anchors
from infinitevggt_core.memory.precision import Plain, Precision, precision_of
from infinitevggt_core.memory.token_store import TokenStore
from infinitevggt_core.model.attention import attend_all
from infinitevggt_core.model.heads.camera_head import ITERATIONS

CAMERA_PRECISION = Plain(torch.float32)
MEGABYTE = 10**6


class StreamMemory:
    """Memories of B streams in step, which forget independently, and of their cameras."""

    def __init__(
        self,
        config: MemoryConfig,
        model: ModelConfig,
        dtype: torch.dtype,
        streams: int,
        tokens_per_frame: int,
        first_frame: int = 0,
    ) -> None:
        """dtype: what the network computes in. tokens_per_frame: of the aggregator.

        Raises ValueError if that many tokens have no room.
        """
        self.config, self.model, self.dtype = config, model, dtype
        self.tokens_per_frame = tokens_per_frame
        self.pinned: frozenset[int] = frozenset()
        """Frames that are anchors beside the first ones."""
        self._count, self._first_frame = streams, first_frame
        self._room = UNLIMITED  # tokens per stream that the device turned out to have memory for
        self.check(config)
        anchors, ceiling = self._anchors(config), self._ceiling(config)
        self.streams = [
            RollingMemory(model.depth, token_policy(config), self._precision(config), anchors)
            for _ in range(streams)
        ]
        for stream in self.streams:
            stream.ceiling = ceiling
        layers = self._camera_layers(config)
        self.camera = RollingMemory(layers, camera_policy(config), CAMERA_PRECISION, anchors)

    def begin_frame(self, frame: int) -> None:
        for stream in self.streams:
            stream.begin_frame(frame, self.tokens_per_frame)
        self.camera.begin_frame(frame, self._camera_tokens(self.config))

    def end_frame(self) -> None:
        for memory in self._all:
            memory.end_frame()

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """A frame's tokens meet the memory of one global layer; forgetting may come before
        attention, so that a frame may lose tokens of its own."""
        outputs = []
        for stream, query, key, value in zip(
            self.streams, *(torch.split(x, 1) for x in (q, k, v)), strict=True
        ):
            stream.remember(layer, key, value)
            stream.forget(layer)
            outputs.append(_attend_stored(query, *stream.recall(layer)))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    def attend_camera(self, iteration: int, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """A camera token meets those of the past, as they were in the same refinement or, shared,
        in all of them."""
        shared = self.config.camera_memory == "shared"
        layer = block if shared else iteration * self.model.camera_trunk_depth + block
        self.camera.remember(layer, k, v)
        return _attend_stored(q, *self.camera.recall(layer))

    @property
    def watches_updates(self) -> bool:
        """Whether the policy wants `observe` to be called."""
        return self.streams[0].policy.watches_updates

    def observe(self, layer: int, updates: Tensor) -> None:
        """What a global block's feed-forward part adds to the current frame, (B, tokens, dim)."""
        for stream, update in zip(self.streams, torch.split(updates, 1), strict=True):
            stream.observe(layer, update)

    def configure(self, config: MemoryConfig) -> None:
        """Another memory from the next frame on. Raises ValueError, and changes nothing, if it
        cannot work."""
        self.check(config)
        self._room = UNLIMITED
        self._apply(config)

    def _apply(self, config: MemoryConfig) -> None:
        self.config = config
        anchors, ceiling = self._anchors(config), min(self._room, self._ceiling(config))
        for stream in self.streams:
            stream.configure(token_policy(config), self._precision(config), anchors, ceiling)
        self.camera.configure(camera_policy(config), CAMERA_PRECISION, anchors, UNLIMITED)

    def check(self, config: MemoryConfig, pinned: int | None = None) -> None:
        """Raise ValueError if there would be no room for the anchors and one frame more.

        pinned: anchor frames beside the first ones, if others than now.
        """
        pinned = len(self.pinned) if pinned is None else pinned
        config.check_budget(self.model.depth, self.tokens_per_frame, pinned)
        smallest = config.smallest_budget(self.model.depth, self.tokens_per_frame, pinned)
        if self._ceiling(config, pinned) < smallest:
            least = -(-self._bytes(config, smallest, pinned) // MEGABYTE)
            raise ValueError(
                f"limit_mb {config.limit_mb} cannot hold the anchors and one frame more: the "
                f"smallest that works is {least}"
            )

    def pin(self, frames: frozenset[int]) -> None:
        """These frames are anchors from now on, beside the first ones. Raises ValueError if there
        is no room for them."""
        self.check(self.config, pinned=len(frames))
        self.pinned = frames
        self._apply(self.config)

    def undo_frame(self) -> None:
        """Forget the current frame, as far as it came."""
        for memory in self._all:
            memory.undo_frame()

    def shrink(self, share: float) -> int:
        """Keep `share` of the tokens only, from now on; how many that are. Raises MemoryError where
        they are too few to work with."""
        room = int(share * max(sum(stream.lengths) for stream in self.streams))
        if room < self.streams[0].smallest:
            raise MemoryError("there are no tokens left to forget")
        self._room = room
        for stream in self.streams:
            stream.shrink(min(room, self._ceiling(self.config)))
        if camera_policy(self.config).window >= UNLIMITED:
            self.camera.shrink(int(share * sum(self.camera.lengths)))
        return room

    @property
    def budget_range(self) -> tuple[int, int]:
        """Least tokens per stream that work, and most that are kept."""
        layers, tokens, pinned = self.model.depth, self.tokens_per_frame, len(self.pinned)
        smallest = self.config.smallest_budget(layers, tokens, pinned)
        anchors = smallest // (layers * tokens) - 1
        wanted = token_policy(self.config).wanted(layers, anchors, tokens)
        return smallest, max(smallest, min(wanted, self._room, self._ceiling(self.config)))

    @property
    def budget(self) -> int:
        """Most tokens per stream that are kept now."""
        smallest, largest = self.budget_range
        return max(smallest, min(largest, self.streams[0].target))

    def aim(self, tokens: int) -> None:
        """Keep `tokens` at most for want of time, or the smallest number that works."""
        for stream in self.streams:
            stream.target = tokens

    @property
    def lengths(self) -> list[int]:
        """Tokens held per global layer; of several streams, by the one that holds most."""
        return [max(lengths) for lengths in zip(*(m.lengths for m in self.streams), strict=True)]

    @property
    def nbytes(self) -> int:
        """Bytes held over every cache, free slots included."""
        return sum(memory.nbytes for memory in self._all)

    @property
    def _all(self) -> list[RollingMemory]:
        return [*self.streams, self.camera]

    def _anchors(self, config: MemoryConfig) -> Anchors:
        return Anchors(self._first_frame, config.anchor_frames).with_others(set(self.pinned))

    def _precision(self, config: MemoryConfig) -> Precision:
        return precision_of(config.dtype, self.dtype)

    def _camera_tokens(self, config: MemoryConfig) -> int:
        """Camera tokens that a frame leaves in each layer of the camera memory."""
        return ITERATIONS if config.camera_memory == "shared" else 1

    def _camera_layers(self, config: MemoryConfig) -> int:
        return self.model.camera_trunk_depth * ITERATIONS // self._camera_tokens(config)

    def _ceiling(self, config: MemoryConfig, pinned: int | None = None) -> int:
        """Tokens per stream that `limit_mb` leaves room for."""
        if not config.limit_mb:
            return UNLIMITED
        rest = MEGABYTE * config.limit_mb - self._bytes(config, 0, pinned)
        return rest // (self._count * self._bytes_per_token(config))

    def _bytes(self, config: MemoryConfig, tokens: int, pinned: int | None = None) -> int:
        """Of `tokens` per stream, of the room for the next frame and of the camera's memory."""
        model, frames = self.model, camera_policy(config).window
        anchors = config.anchor_frames + (len(self.pinned) if pinned is None else pinned)
        head_dim = 2 * model.embed_dim // model.camera_num_heads
        per_token = TokenStore.bytes_per_token(model.camera_num_heads, head_dim, CAMERA_PRECISION)
        cameras = self._camera_tokens(config) * self._camera_layers(config)
        camera = cameras * (anchors + frames + 1) * per_token
        slots = tokens + model.depth * self.tokens_per_frame
        return self._count * (camera + slots * self._bytes_per_token(config))

    def _bytes_per_token(self, config: MemoryConfig) -> int:
        model, precision = self.model, self._precision(config)
        head_dim = model.embed_dim // model.num_heads
        return TokenStore.bytes_per_token(model.num_heads, head_dim, precision)

    def state_dict(self) -> dict[str, Any]:
        return {
            "first_frame": self._first_frame,
            "pinned": sorted(self.pinned),
            "streams": [stream.state_dict() for stream in self.streams],
            "camera": self.camera.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Raises ValueError if the snapshot is not of such a memory; it must not be used then."""
        self._first_frame = state["first_frame"]
        self.pin(frozenset(state["pinned"]))
        for memory, part in zip(self._all, [*state["streams"], state["camera"]], strict=True):
            memory.load_state_dict(part, device)


def _attend_stored(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention in the precision the memory is stored in."""
    return attend_all(query.to(keys.dtype), keys, values).to(query.dtype)
