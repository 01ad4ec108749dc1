# SPDX-License-Identifier: Apache-2.0
"""Bounded, evicting key-value cache."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory.anchors import Anchors
from infinitevggt_core.memory.budget import Budget, CacheShape
from infinitevggt_core.memory.frame_means import FrameMeans, mean_keys
from infinitevggt_core.memory.frame_numbers import FrameNumbers
from infinitevggt_core.memory.late_values import LateValues
from infinitevggt_core.memory.mean_key import MeanKeys
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy
from infinitevggt_core.memory.precision import Precision
from infinitevggt_core.memory.stored_tokens import StoredTokens
from infinitevggt_core.memory.token_store import TokenStore

GROWTH = 2


class KVCache:
    """Keys and values of all layers of one stream, or of several streams in step, under one policy.

    Each frame calls `begin_frame`, then `update` once per layer, then `end_frame`. Frames are
    numbered as they are stored.
    """

    def __init__(
        self,
        layers: int,
        policy: RetentionPolicy,
        precision: Precision,
        anchors: Anchors,
        special_tokens: int = 0,
    ) -> None:
        """special_tokens: tokens at the head of each frame that are no patches."""
        self.policy = policy
        self.anchors = anchors
        """Anchors that are set; the policy may add temporary ones."""
        self.budget = Budget()
        """Tokens that may be kept in all layers. `begin_frame` sets the policy's part of it."""
        self._store = TokenStore(layers, precision)
        self._means = MeanKeys()
        self._frame_means = FrameMeans()
        self._has_whole_frames = True
        self._numbers = FrameNumbers(anchors)
        self._similarities = [0.0] * layers
        self._late_similarities: LateValues | None = None
        self.measured: dict[int, Tensor] = {}
        """Similarities of the layers that were evicted, scalars that are not sent to the host."""
        self._protected = anchors
        self._shape = CacheShape(layers, 0, len(anchors), special_tokens=special_tokens)
        self._limits: list[int] = []
        self._divided: list[int] = []  # tokens and minimum for which the limits were computed
        self._frame = anchors.first
        self._arriving = 1
        self._is_stored = True
        self._lengths_before = [0] * layers

    @property
    def lengths(self) -> list[int]:
        """Number of tokens held per layer."""
        return list(self._store.lengths)

    @property
    def limits(self) -> list[int]:
        """Largest number of tokens kept per layer after the frame that has begun."""
        return list(self._limits)

    @property
    def similarities(self) -> list[float]:
        """Similarity of each layer's keys at its last eviction; 0 before one, or if the policy
        measures none."""
        self.send_similarities()
        if self._late_similarities is not None:
            for layer, similarity in self._late_similarities.read().items():
                self._similarities[layer] = similarity
            self._late_similarities = None
        return list(self._similarities)

    def send_similarities(self) -> None:
        """Start the copy of the new similarities to the host, one for all layers."""
        if self.measured:
            self._late_similarities, self.measured = LateValues(self.measured), {}

    @property
    def precision(self) -> Precision:
        """Precision in which keys and values are stored."""
        return self._store.precision

    @property
    def nbytes(self) -> int:
        """Bytes held, free slots included."""
        return self._store.nbytes

    @property
    def layout(self) -> object:
        """Everything on which the operations of the frame that has begun depend, but for numbers
        on the device."""
        return (
            self.policy,
            self._numbers.layout,
            self._arriving,
            self._is_stored,
            (self.budget.tokens, self.budget.capacity),
            tuple(self._limits),
            self._has_whole_frames,
            self._frame_means.layout,
            self._means.layout,
            self._store.layout,
        )

    def now(self, device: torch.device) -> Tensor:
        """Return the number of the current frame as a scalar on the device."""
        return self._numbers.now(device)

    def tokens(self, layer: int) -> StoredTokens:
        """Return a view of the tokens of a layer."""
        return self._store.read(layer)

    def frames(self, layer: int) -> Tensor:
        """Return (batch, heads, tokens): the frame of each token of a layer."""
        return self._store.read(layer).frames

    def even_parts(self) -> tuple[list[Tensor], int] | None:
        """Return views (1, heads, layers, slots, ...) of all keys, values and so on, and the number
        of slots in use in each layer, or None if layers differ. For an engine that attends the
        memory by itself and then calls `append`."""
        return self._store.even_parts()

    def begin_frame(
        self, frame: int, tokens_per_frame: int, count: int = 1, is_stored: bool = True
    ) -> None:
        """Allocate the budget by the last similarities, before any layer runs.

        count: frames that arrive together, `frame` the first of them. is_stored: False if the frame
        is removed again by `end_frame`; then nothing is evicted for it.
        """
        self._frame, self._arriving, self._is_stored = frame + count - 1, count, is_stored
        protected = self.anchors.with_others(self.policy.temporary_anchors(self._frame))
        if protected != self._protected:
            self._means.reset()
        self._protected = protected
        self._shape = replace(
            self._shape,
            tokens_per_frame=tokens_per_frame,
            anchors=len(protected),
            stored_frames=self._frame - self.anchors.first + 1,
        )
        self._lengths_before = list(self._store.lengths)
        self._set_numbers()
        self._set_limits()

    def _set_numbers(self) -> None:
        room = len(self.anchors.others) + self.policy.most_temporary_anchors
        self._numbers.begin_frame(self._frame, self._protected, room)

    def _set_limits(self) -> None:
        requested, minimum = self.policy.capacity(self._shape), self._shape.minimum
        self.budget = replace(self.budget, requested=requested, minimum=minimum)
        is_due = self._shape.stored_frames % self.policy.allocation_frames == 0
        if is_due or self._divided != [self.budget.tokens, minimum]:
            self._divided = [self.budget.tokens, minimum]
            self._limits = self.policy.allocate(self.budget.tokens, self.similarities, self._shape)

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append the current frame's keys and values to a layer, evict if the policy does so before
        attention, and return all keys and values that the frame attends.

        All are (batch, heads, tokens, head_dim).
        """
        self.append(layer, keys, values)
        if self._evicts_on_update:
            self.evict(layer)
        return self.get(layer)

    @property
    def _evicts_on_update(self) -> bool:
        # frames that start a stream together attend each other whole
        return self.policy.before_attention and self._is_stored and self._arriving == 1

    def append(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Append tokens (batch, heads, tokens, head_dim) of the current frame."""
        if not self._store.slots:
            self._store.allocate(keys, self._wanted_slots())
        tokens = self._store.append(layer, keys, values, self.now(keys.device), self._arriving)
        self._write_metadata(tokens)
        is_candidate = self._is_stored and self._frame not in self._protected
        if is_candidate and self._means.knows(layer):
            self._means.add(layer, tokens.unit_keys())

    def append_to_all(self, keys: Tensor, values: Tensor) -> None:
        """Append tokens (layers, 1, heads, tokens, head_dim) of the current frame to all layers:
        `append` in one step, for a cache with `even_parts` and a policy without mean keys."""
        tokens = self._store.append_to_all(keys[:, 0], values[:, 0], self.now(keys.device))
        self._write_metadata(tokens)

    def _write_metadata(self, tokens: StoredTokens) -> None:
        if not self.policy.marks_specials:
            tokens.metadata[:] = self.policy.metadata(tokens)
            return
        by_frame = torch.unflatten(tokens.metadata, -1, (self._arriving, -1))
        by_frame.zero_()[..., : self._shape.special_tokens] = 1

    def evict(self, layer: int) -> None:
        """Evict what exceeds a layer's share of the budget."""
        surplus = self._store.lengths[layer] - self._limits[layer]
        if surplus <= 0:
            return
        self._note_eviction(surplus)
        view = self.view(layer, surplus)
        indices = self.policy.choose(view)
        similarity = self.policy.similarity(view)
        if similarity is not None:
            self.measured[layer] = similarity
        if self._means.knows(layer):
            self._means.remove(layer, view.tokens.unit_keys(indices))
        self._store.drop(layer, indices)

    def get(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return keys and values (batch, heads, tokens, head_dim) of a layer."""
        tokens = self._store.read(layer)
        return tokens.keys, tokens.values

    def observe(self, layer: int, updates: Tensor) -> None:
        """Store metadata derived from the output of a layer's feed-forward part for the current
        frame, (batch, tokens, dim)."""
        tokens = self._store.read(layer, start=self._store.lengths[layer] - updates.shape[1])
        tokens.metadata[:] = self.policy.update_metadata(updates)[:, None]

    def end_frame(self) -> None:
        """Evict what leaves after attention, and make room for the next frame."""
        if not self._is_stored:
            self._remove_frame()
        elif not self._evicts_on_update:
            self._evict_all()
        self._arriving = 1
        self._fit_storage()

    def _remove_frame(self) -> None:
        for layer, length in enumerate(self._lengths_before):
            self._store.truncate(layer, length)

    def forget_frame(self) -> None:
        """Return to the state before the first `append` of the frame: nothing of it was computed,
        because a graph that recorded it failed."""
        self.measured = {}
        self._frame_means.reset()
        self._remove_frame()

    def configure(
        self,
        policy: RetentionPolicy,
        precision: Precision,
        anchors: Anchors,
        memory_limit: int = UNLIMITED,
    ) -> None:
        """Change policy, storage, anchors or memory limit from the next frame on."""
        is_other_kind = type(policy) is not type(self.policy)
        if policy != self.policy:
            self._divided = []
        self.policy, self.anchors = policy, anchors
        self.budget = replace(self.budget, memory_limit=memory_limit)
        self._frame_means.reset()
        self._convert(precision)
        if is_other_kind:
            self._renew_metadata()

    def limit_latency(self, tokens: int) -> None:
        """Keep `tokens` at most in all layers, to hold a time per frame."""
        self.budget = replace(self.budget, latency_limit=tokens)

    def undo_frame(self) -> None:
        """Remove the current frame from all layers, as far as it was appended. Tokens evicted for
        it stay evicted."""
        self.measured = {}
        self._frame_means.reset()
        self._means.reset()  # an error may have interrupted its update
        if not self._is_stored:
            return self._remove_frame()
        first = self._frame - self._arriving + 1
        for layer, length in enumerate(self._store.lengths):
            current = self._store.read(layer).frames >= first if length else None
            if current is not None and current.any():
                # heads may have evicted some of it already; in those older tokens go with it
                view = self.view(layer, int(current.sum(dim=-1).max()))
                self._store.drop(layer, self.policy.choose(view, leaving=current))
        self._means.reset()

    def shrink(self, memory_limit: int) -> None:
        """Give memory back to the device: evict down to `memory_limit` tokens in all layers, or to
        the minimum."""
        self.budget = replace(self.budget, memory_limit=memory_limit)
        self._set_limits()
        self._evict_all()
        self.measured = {}
        self._store.resize(self._wanted_slots(), through_host=True)

    def _convert(self, precision: Precision) -> None:
        if precision != self._store.precision:
            self._store.convert(precision)
            if self.policy.uses_mean_key:  # rounded keys are other keys
                self._renew_metadata()

    def _renew_metadata(self) -> None:
        self._means.reset()
        for layer in range(self._shape.layers if self._store.slots else 0):
            tokens = self._store.read(layer)
            tokens.metadata[:] = self.policy.metadata(tokens)

    def _evict_all(self) -> None:
        is_level = len(set(self._limits)) == 1 and self._store.is_even
        if is_level and self.policy.takes_all_layers:
            return self._evict_together()
        self._frame_means.reset()
        for layer in range(self._shape.layers):
            self.evict(layer)

    def _evict_together(self) -> None:
        """Evict from all layers, which hold the same number of tokens, as one batch: a small part
        of the operations of one eviction per layer."""
        surplus = self._store.lengths[0] - self._limits[0]
        if surplus <= 0:
            return
        tokens, size = self._store.read_all(), self._shape.tokens_per_frame
        self._note_eviction(surplus)
        means = tokens.metadata.new_empty(0)
        if self.policy.uses_frame_means:
            if not self._has_whole_frames:
                self._frame_means.reset()
            means = self._frame_means.update(tokens, size)
        view = self._view(tokens, surplus, tokens.metadata.new_empty(0), means)
        self._store.drop_from_all(self.policy.choose(view))
        if self.policy.uses_frame_means:
            self._frame_means.keep(self._store.read_all().frames[:, 0, ::size])

    def _note_eviction(self, surplus: int) -> None:
        is_whole = surplus % self._shape.tokens_per_frame == 0
        self._has_whole_frames &= is_whole and self.policy.keeps_whole_frames

    def view(self, layer: int, surplus: int) -> LayerView:
        """Return a layer as a policy sees it that must evict `surplus` tokens per head."""
        tokens = self._store.read(layer)
        mean = frame_means = tokens.metadata.new_empty(0)
        if self.policy.uses_mean_key:
            candidates = self._candidates(tokens)
            if not self._means.knows(layer):
                self._means.set(layer, tokens.unit_keys(), candidates)
            mean = self._means.mean(layer, candidates.sum(dim=-1))
        if self.policy.uses_frame_means:
            frame_means = mean_keys(tokens, self._shape.tokens_per_frame)
        return self._view(tokens, surplus, mean, frame_means)

    def _view(
        self, tokens: StoredTokens, surplus: int, mean_key: Tensor, frame_means: Tensor
    ) -> LayerView:
        return LayerView(
            tokens,
            self._candidates(tokens),
            self._protected,
            self._frame,
            self._numbers,
            self._shape,
            self.budget.tokens,
            surplus,
            mean_key,
            frame_means,
            self._has_whole_frames,
        )

    def _candidates(self, tokens: StoredTokens) -> Tensor:
        return self._numbers.candidates(tokens.frames)

    def _fit_storage(self) -> None:
        """Make room for one more frame: grow towards the budget, or shrink to it."""
        wanted = self._wanted_slots()
        if wanted != self._store.slots:
            self._store.resize(wanted)
        self._store.make_room(self._shape.tokens_per_frame)

    def _wanted_slots(self) -> int:
        frame = self._shape.frame
        needed = sum(self._store.lengths) + self._arriving * frame
        most = max(needed, min(UNLIMITED, self.budget.capacity + frame))
        if needed <= self._store.slots <= most:
            return self._store.slots
        roomy = GROWTH * needed
        # less than one growth below the bound, go to it: the next copy of all would follow soon
        return roomy if GROWTH * roomy <= most else most

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue."""
        return {
            "similarities": self.similarities,
            "store": self._store.state_dict(),
            "means": self._means.state_dict(),
            "limits": list(self._limits),
            "divided": list(self._divided),
            "has_whole_frames": self._has_whole_frames,
            "temporary_anchors": sorted(self._protected.others - self.anchors.others),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore a state, converted to the precision of this cache."""
        precision = self._store.precision
        self._similarities, self._late_similarities = list(state["similarities"]), None
        self._store.load_state_dict(state["store"], device)
        self._means.load_state_dict(state["means"], device)
        self._limits = list(state.get("limits", []))
        self._divided = list(state.get("divided", []))
        self._protected = self.anchors.with_others(set(state["temporary_anchors"]))
        self._set_numbers()
        self._has_whole_frames = state.get("has_whole_frames", False)
        self._frame_means.reset()
        self._convert(precision)
