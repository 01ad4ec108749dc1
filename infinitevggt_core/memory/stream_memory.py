# SPDX-License-Identifier: Apache-2.0
"""Memory of a session's streams: tokens of the global layers, and camera tokens."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import UNLIMITED, ModelConfig
from infinitevggt_core.memory.anchors import Anchors
from infinitevggt_core.memory.budget import Budget
from infinitevggt_core.memory.camera_cache import CameraCache
from infinitevggt_core.memory.config import MemoryConfig, camera_policy, token_policy
from infinitevggt_core.memory.kv_cache import KVCache
from infinitevggt_core.memory.policies.base import RetentionPolicy
from infinitevggt_core.memory.precision import Plain, Precision, precision_of
from infinitevggt_core.memory.token_store import TokenStore
from infinitevggt_core.model import kernels
from infinitevggt_core.model.heads.camera_head import ITERATIONS
from infinitevggt_core.model.rope import table_length

CAMERA_PRECISION = Plain(torch.float32)
MEGABYTE = 10**6


class StreamMemory:
    """Caches of B streams in step. The streams evict independently; a camera cache holds all of
    them. It is the `Context` in which the network decodes their next frames."""

    def __init__(
        self,
        config: MemoryConfig,
        model: ModelConfig,
        dtype: torch.dtype,
        streams: int,
        tokens_per_frame: int,
        first_frame: int = 0,
        start_frames: int = 1,
        *,
        is_camera_whole: bool = False,
    ) -> None:
        """dtype: precision of the network. first_frame: number of the first frame to be stored.
        start_frames: frames with which the streams start together. is_camera_whole: give the
        camera head's cache its full length from the second frame on.

        Raises ValueError if the memory cannot hold the anchors and one more frame.
        """
        self.config, self.model, self.dtype = config, model, dtype
        self.tokens_per_frame = tokens_per_frame
        self.pinned: frozenset[int] = frozenset()
        """Anchor frames besides the first ones."""
        self.start_frames = 0
        """Frames of the current forward that start the streams together; 0 after the start."""
        self._count, self._first_frame, self._start = streams, first_frame, start_frames
        self._stored = self._arriving = 0
        self._lengths: list[list[int]] = []  # and limits, per stream, when the frame began
        self._is_planned = False  # attention may be planned for these lengths
        self._device_limit = UNLIMITED  # tokens per stream for which the device had memory
        self._latency_limit = UNLIMITED
        self._check(config, len(self.pinned))
        self._policy, self._camera_policy = token_policy(config), camera_policy(config)
        anchors = self._anchors()
        self.streams = [
            KVCache(
                model.depth, self._policy, self._precision(config), anchors, model.special_tokens
            )
            for _ in range(streams)
        ]
        for stream in self.streams:
            stream.budget = Budget(memory_limit=self._memory_limit(config, 0))
        layers = self._camera_layers(config)
        self.camera = CameraCache(
            layers, self._camera_policy, CAMERA_PRECISION, anchors, is_whole=is_camera_whole
        )

    @property
    def indices(self) -> list[int]:
        """Temporal index of the current frame, or of the first of several, per stream: the number
        of frames stored before it."""
        return [self._stored] * self._count

    def position(self, device: torch.device) -> Tensor | None:
        """Return the temporal index as a number (1,) on the device, if the network reads it."""
        if not self.model.temporal_rotation:
            return None
        return (self.streams[0].now(device) - self._first_frame).view(1)

    @property
    def stored_frames(self) -> int:
        """Number of frames stored since the streams began."""
        return self._stored

    @property
    def latest_stored(self) -> int:
        """Number of the frame that was stored last."""
        return self._first_frame + self._stored - 1

    def begin_frame(self, count: int = 1, *, is_start: bool, is_stored: bool = True) -> None:
        """Prepare for the next frame, or for `count` frames that start the streams together.

        is_stored: False if the frame leaves nothing in the memory.
        """
        self.start_frames = count if is_start else 0
        frame = self._first_frame + self._stored
        for stream in self.streams:
            stream.begin_frame(frame, self.tokens_per_frame, count, is_stored)
        self.camera.begin_frame(frame, self._camera_tokens(self.config), count, is_stored)
        lengths = [[*stream.lengths, *stream.limits] for stream in self.streams]
        self._is_planned = self._policy.fits_graph and lengths == self._lengths
        self._lengths = lengths
        self._arriving = count if is_stored else 0

    def end_frame(self, *, is_evicted: bool = False) -> None:
        """Complete the frame or frames that `begin_frame` prepared.

        is_evicted: True if a graph has done what `end_caches` does.
        """
        if not is_evicted:
            self.end_caches()
        for stream in self.streams:
            stream.send_similarities()
        self._stored += self._arriving

    def end_caches(self) -> None:
        """Evict what leaves after the frame, and make room for the next one."""
        for cache in self.caches:
            cache.end_frame()

    def forget_frame(self) -> None:
        """Return to the state before the network ran: a graph that recorded it failed."""
        for cache in self.caches:
            cache.forget_frame()

    @property
    def layout(self) -> object:
        """Everything on which the operations of the frame that has begun depend, but for numbers
        on the device."""
        table = table_length(self._stored + 1) if self.model.temporal_rotation else 0
        return self.config.camera_memory, table, tuple(cache.layout for cache in self.caches)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend the memory of one global layer. Eviction may precede attention, so that a frame
        may lose some of its own tokens."""
        outputs = []
        for stream, query, key, value in zip(
            self.streams, *(torch.split(x, 1) for x in (q, k, v)), strict=True
        ):
            keys, values = stream.update(layer, key, value)
            outputs.append(_attend_stored(query, keys, values, is_planned=self._is_planned))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    def attend_camera(self, iteration: int, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend the past camera tokens of the same refinement or, if shared, of all."""
        shared = self.config.camera_memory == "shared"
        layer = block if shared else iteration * self.model.camera_trunk_depth + block
        keys, values = self.camera.update(layer, k, v)
        return _attend_stored(q, keys, values, bias=self.camera.bias(layer))

    @property
    def watches_updates(self) -> bool:
        """True if the policy needs `observe`."""
        return self._policy.watches_updates

    def observe(self, layer: int, updates: Tensor) -> None:
        """Observe the output of a global block's feed-forward part, (B, tokens, dim)."""
        for stream, update in zip(self.streams, torch.split(updates, 1), strict=True):
            stream.observe(layer, update)

    def configure(self, config: MemoryConfig) -> None:
        """Change the settings from the next frame on. Raises ValueError, and changes nothing, if
        they cannot work."""
        self.check(config)
        self._device_limit = UNLIMITED
        self._apply(config, self.pinned)

    def _apply(self, config: MemoryConfig, pinned: frozenset[int]) -> None:
        self.config, self.pinned = config, pinned
        self._policy, self._camera_policy = token_policy(config), camera_policy(config)
        anchors, limit = self._anchors(), self._memory_limit(config, len(pinned))
        for stream in self.streams:
            stream.configure(
                self._policy, self._precision(config), anchors, min(self._device_limit, limit)
            )
        self.camera.configure(self._camera_policy, CAMERA_PRECISION, anchors)

    def check(self, config: MemoryConfig) -> None:
        """Raise ValueError if the memory cannot hold the anchors and one more frame."""
        self._check(config, len(self.pinned))

    def _check(self, config: MemoryConfig, pinned: int) -> None:
        budget = config.check_budget(self.model.depth, self.tokens_per_frame, pinned, self._start)
        least = max(budget.minimum, self._start * self.model.depth * self.tokens_per_frame)
        if self._memory_limit(config, pinned) < least:
            smallest = -(-self._bytes(config, least, pinned) // MEGABYTE)
            raise ValueError(
                f"limit_mb {config.limit_mb} cannot hold the anchors and one frame more: the "
                f"smallest that works is {smallest}"
            )

    def pin(self, frames: frozenset[int]) -> None:
        """Make these frames the anchors besides the first ones. Raises ValueError if there is no
        room for them."""
        self._check(self.config, len(frames))
        self._apply(self.config, frames)

    def undo_frame(self) -> None:
        """Remove the current frame, as far as it was appended."""
        for cache in self.caches:
            cache.undo_frame()

    def shrink(self, share: float) -> int:
        """Keep only `share` of the tokens from now on, and return their number. Raises MemoryError
        if they are too few to work with."""
        limit = int(share * max(sum(stream.lengths) for stream in self.streams))
        if limit < self.streams[0].budget.minimum:
            raise MemoryError("no tokens are left to evict")
        self._device_limit = limit
        limit = min(limit, self._memory_limit(self.config, len(self.pinned)))
        for stream in self.streams:
            stream.shrink(limit)
        if self._camera_policy.window >= UNLIMITED:
            self.camera.shrink(int(share * sum(self.camera.lengths)))
        return self._device_limit

    @property
    def budget(self) -> Budget:
        """Tokens per stream that may be kept now."""
        config, pinned = self.config, len(self.pinned)
        limit = min(self._device_limit, self._memory_limit(config, pinned))
        budget = config.check_budget(self.model.depth, self.tokens_per_frame, pinned, self._start)
        return replace(budget, memory_limit=limit, latency_limit=self._latency_limit)

    def limit_latency(self, tokens: int) -> None:
        """Keep `tokens` per stream at most, to hold a time per frame."""
        self._latency_limit = tokens
        for stream in self.streams:
            stream.limit_latency(tokens)

    @property
    def lengths(self) -> list[int]:
        """Number of tokens per global layer; of several streams, the largest number."""
        return [max(lengths) for lengths in zip(*(m.lengths for m in self.streams), strict=True)]

    @property
    def nbytes(self) -> int:
        """Bytes held over every cache, free slots included."""
        return sum(cache.nbytes for cache in self.caches)

    @property
    def caches(self) -> list[KVCache]:
        """Caches of the streams and of the camera head."""
        return [*self.streams, self.camera]

    def _anchor_count(self, config: MemoryConfig, policy: RetentionPolicy) -> int:
        return policy.anchor_frames(config.anchor_frames, self._start)

    def _anchors(self) -> Anchors:
        count = self._anchor_count(self.config, self._policy)
        return Anchors(self._first_frame, count).with_others(set(self.pinned))

    def _precision(self, config: MemoryConfig) -> Precision:
        return precision_of(config.dtype, self.dtype)

    def _camera_tokens(self, config: MemoryConfig) -> int:
        """Return the number of camera tokens per frame in each layer of the camera cache."""
        return ITERATIONS if config.camera_memory == "shared" else 1

    def _camera_layers(self, config: MemoryConfig) -> int:
        return self.model.camera_trunk_depth * ITERATIONS // self._camera_tokens(config)

    def _memory_limit(self, config: MemoryConfig, pinned: int) -> int:
        """Return the number of tokens per stream for which `limit_mb` has room."""
        if not config.limit_mb:
            return UNLIMITED
        rest = MEGABYTE * config.limit_mb - self._bytes(config, 0, pinned)
        return rest // (self._count * self._bytes_per_token(config))

    def _bytes(self, config: MemoryConfig, tokens: int, pinned: int) -> int:
        """Return the bytes of `tokens` per stream, of the next frame and of the camera cache."""
        model, frames = self.model, camera_policy(config).window
        anchors = self._anchor_count(config, token_policy(config)) + pinned
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
        """Return everything that `load_state_dict` needs to continue."""
        return {
            "first_frame": self._first_frame,
            "start_frames": self._start,
            "stored": self._stored,
            "pinned": sorted(self.pinned),
            "streams": [stream.state_dict() for stream in self.streams],
            "camera": self.camera.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore a state. Raises ValueError if it is of another memory, which must not be used
        then."""
        self._first_frame, self._start = state["first_frame"], state["start_frames"]
        self._stored = state["stored"]
        self.pin(frozenset(state["pinned"]))
        for cache, part in zip(self.caches, [*state["streams"], state["camera"]], strict=True):
            cache.load_state_dict(part, device)


def _attend_stored(query: Tensor, keys: Tensor, values: Tensor, **options: Any) -> Tensor:
    """Attend in the precision in which the memory is stored, with options of `attention`."""
    query_there = query.to(keys.dtype)
    return kernels.attention(query_there, keys, values, **options).to(query.dtype)
