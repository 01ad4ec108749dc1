# SPDX-License-Identifier: Apache-2.0
"""A memory that rolls with its stream: remember a frame, forget the redundant, recall the rest."""

from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory.anchors import Anchors
from infinitevggt_core.memory.late_values import LateValues
from infinitevggt_core.memory.mean_key import MeanKeys
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy
from infinitevggt_core.memory.precision import Precision
from infinitevggt_core.memory.token_store import TokenStore

GROWTH = 2


class RollingMemory:
    """Keys and values of one stream (or of streams in step), layer by layer, under one policy.

    Between `begin_frame` and `end_frame` every layer calls remember, forget, recall, in this order.
    """

    def __init__(
        self, layers: int, policy: RetentionPolicy, precision: Precision, anchors: Anchors
    ) -> None:
        self.policy = policy
        self.anchors = anchors
        """Those that are set; the policy may have more of its own."""
        self.ceiling = UNLIMITED
        """Most tokens in all layers that there is memory for; storage is sized by it."""
        self.target = UNLIMITED
        """Most tokens in all layers that there is time for."""
        self._store = TokenStore(layers, precision)
        self._means = MeanKeys()
        self._scores = [0.0] * layers
        self._late_scores: LateValues | None = None
        self._new_scores: dict[int, Tensor] = {}
        self._protected = anchors
        self._limits: list[int] = []
        self._frame = anchors.first
        self._tokens_per_frame = 0

    @property
    def lengths(self) -> list[int]:
        """Tokens held per layer."""
        return list(self._store.lengths)

    @property
    def scores(self) -> list[float]:
        """How alike each layer's keys were when it last forgot by a policy that scores layers; 0
        before that."""
        if self._late_scores is not None:
            for layer, score in self._late_scores.read().items():
                self._scores[layer] = score
            self._late_scores = None
        return list(self._scores)

    @property
    def nbytes(self) -> int:
        """Bytes held, free slots included."""
        return self._store.nbytes

    def frames(self, layer: int) -> Tensor:
        """(batch, heads, tokens): the frame each token of a layer came from."""
        return self._store.read(layer).frames

    def begin_frame(self, frame: int, tokens_per_frame: int) -> None:
        """Split the budget by the last scores, before any layer runs."""
        self._frame, self._tokens_per_frame = frame, tokens_per_frame
        protected = self.anchors.with_others(self.policy.own_anchors(frame))
        if protected != self._protected:
            self._means.reset()
        self._protected = protected
        self._set_limits()

    def _set_limits(self) -> None:
        total = min(self._capacity(), max(self.target, self.smallest))
        anchors, tokens = len(self._protected), self._tokens_per_frame
        self._limits = self.policy.split(total, self.scores, anchors, tokens)

    def _capacity(self) -> int:
        """Tokens to keep in all layers, as far as memory goes."""
        layers, tokens = len(self._scores), self._tokens_per_frame
        wanted = self.policy.wanted(layers, len(self._protected), tokens)
        return max(min(wanted, self.ceiling), self.smallest)

    @property
    def smallest(self) -> int:
        """Tokens of the anchors and of one frame more, in all layers."""
        return len(self._scores) * (len(self._protected) + 1) * self._tokens_per_frame

    def remember(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Add tokens (batch, heads, tokens, head_dim) of the current frame."""
        if not self._store.slots:
            self._store.allocate(keys, self._wanted_slots())
        tokens = self._store.append(layer, keys, values, self._frame)
        tokens.notes[:] = self.policy.note(tokens)
        if self._means.knows(layer) and self._frame not in self._protected:
            self._means.add(layer, tokens.unit_keys())

    def forget(self, layer: int) -> None:
        """Drop what the policy finds redundant, if it does so before attention."""
        if self.policy.before_attention:
            self._evict(layer)

    def recall(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values (batch, heads, tokens, head_dim) that the current frame attends."""
        tokens = self._store.read(layer)
        return tokens.keys, tokens.values

    def observe(self, layer: int, updates: Tensor) -> None:
        """What the layer's feed-forward part adds to the current frame, (batch, tokens, dim)."""
        tokens = self._store.read(layer, start=self._store.lengths[layer] - updates.shape[1])
        tokens.notes[:] = self.policy.note_updates(updates)[:, None]

    def end_frame(self) -> None:
        """Drop what leaves after attention; send for the new scores; make room for a frame."""
        if not self.policy.before_attention:
            self._evict_all()
        if self._new_scores:  # one transfer for all layers
            self._late_scores = LateValues(self._new_scores)
            self._new_scores = {}
        self._fit_storage()

    def configure(
        self, policy: RetentionPolicy, precision: Precision, anchors: Anchors, ceiling: int
    ) -> None:
        """Another policy, storage, anchors or limit from the next frame on."""
        other_notes = type(policy) is not type(self.policy)
        self.policy, self.anchors, self.ceiling = policy, anchors, ceiling
        self._convert(precision)
        if other_notes:
            self._note_again()

    def undo_frame(self) -> None:
        """Forget the current frame, as far as it came, in all layers; what it displaced stays
        forgotten."""
        self._new_scores.clear()
        self._means.reset()  # it may have died while it was counting
        for layer, length in enumerate(self._store.lengths):
            current = self._store.read(layer).frames == self._frame if length else None
            if current is not None and current.any():
                # heads may have lost some of it already; in those older tokens go with it
                view = self._view(layer, int(current.sum(dim=-1).max()))
                self._store.drop(layer, self.policy.choose(view, leaving=current))
        self._means.reset()

    def shrink(self, ceiling: int) -> None:
        """Give memory back to the device: forget until `ceiling` tokens are left in all layers, or
        the smallest that works."""
        self.ceiling = ceiling
        self._set_limits()
        self._evict_all()
        self._new_scores.clear()
        self._store.resize(self._wanted_slots(), through_host=True)

    def _convert(self, precision: Precision) -> None:
        if precision != self._store.precision:
            self._store.convert(precision)
            if self.policy.uses_mean_key:  # rounded keys are other keys
                self._note_again()

    def _note_again(self) -> None:
        self._means.reset()
        for layer in range(len(self._scores) if self._store.slots else 0):
            tokens = self._store.read(layer)
            tokens.notes[:] = self.policy.note(tokens)

    def _evict_all(self) -> None:
        for layer in range(len(self._scores)):
            self._evict(layer)

    def _evict(self, layer: int) -> None:
        surplus = self._store.lengths[layer] - self._limits[layer]
        if surplus <= 0:
            return
        view = self._view(layer, surplus)
        indices = self.policy.choose(view)
        score = self.policy.score(view)
        if score is not None:
            self._new_scores[layer] = score
        if self._means.knows(layer):
            self._means.remove(layer, view.tokens.unit_keys(indices))
        self._store.drop(layer, indices)

    def _view(self, layer: int, surplus: int) -> LayerView:
        tokens = self._store.read(layer)
        candidates = self._protected.candidates(tokens.frames)
        mean = tokens.notes.new_empty(0)
        if self.policy.uses_mean_key:
            if not self._means.knows(layer):
                self._means.set(layer, tokens.unit_keys(), candidates)
            mean = self._means.mean(layer, candidates.sum(dim=-1))
        return LayerView(tokens, candidates, self._frame, self._tokens_per_frame, surplus, mean)

    def _fit_storage(self) -> None:
        """Room for one more frame: grow towards the budget, never past it, or shrink after it."""
        wanted = self._wanted_slots()
        if wanted != self._store.slots:
            self._store.resize(wanted)
        self._store.make_room(self._tokens_per_frame)

    def _wanted_slots(self) -> int:
        frame = len(self._scores) * self._tokens_per_frame
        needed = sum(self._store.lengths) + frame
        most = max(needed, min(UNLIMITED, self._capacity() + frame))
        if needed <= self._store.slots <= most:
            return self._store.slots
        roomy = GROWTH * needed
        # less than one growth before the bound, go to it: the next copy of all would come so soon
        return roomy if GROWTH * roomy <= most else most

    def state_dict(self) -> dict[str, Any]:
        """Everything `load_state_dict` needs to go on as if never stopped."""
        return {
            "scores": self.scores,
            "store": self._store.state_dict(),
            "means": self._means.state_dict(),
            "own_anchors": sorted(self._protected.others - self.anchors.others),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        own = self._store.precision
        self._scores, self._late_scores = list(state["scores"]), None
        self._store.load_state_dict(state["store"], device)
        self._means.load_state_dict(state["means"], device)
        self._protected = self.anchors.with_others(set(state["own_anchors"]))
        self._convert(own)
