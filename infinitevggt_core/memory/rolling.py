"""A memory that rolls with its stream: remember a frame, forget the redundant, recall the rest."""

from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory.late_values import LateValues
from infinitevggt_core.memory.mean_key import MeanKeys
from infinitevggt_core.memory.policy import LayerView, RetentionPolicy
from infinitevggt_core.memory.precision import Precision
from infinitevggt_core.memory.token_store import StoredTokens, TokenStore

GROWTH = 2


class RollingMemory:
    """Keys and values of one stream (or of streams in step), layer by layer, under one policy.

    Between `begin_frame` and `end_frame` every layer calls remember, forget, recall, in this order.
    """

    def __init__(
        self, layers: int, policy: RetentionPolicy, precision: Precision, anchor_frames: int
    ) -> None:
        """anchor_frames: first frames, never forgotten."""
        self.policy = policy
        self.anchor_frames = anchor_frames
        self._store = TokenStore(layers, precision)
        self._means = MeanKeys()
        self._scores = [0.0] * layers
        self._late_scores: LateValues | None = None
        self._new_scores: dict[int, Tensor] = {}
        self._limits: list[int] = []
        self._frame = 0
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
        layers, anchors = len(self._scores), self.anchor_frames
        wanted = self.policy.wanted(layers, anchors, tokens_per_frame)
        self._limits = self.policy.split(wanted, self.scores, anchors, tokens_per_frame)

    def remember(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Add tokens (batch, heads, tokens, head_dim) of the current frame."""
        if not self._store.slots:
            self._store.allocate(keys, self._wanted_slots())
        tokens = self._store.append(layer, keys, values, self._frame)
        tokens.notes[:] = self.policy.note(tokens)
        if self._means.knows(layer) and self._frame >= self.anchor_frames:
            self._means.add(layer, tokens.unit_keys())

    def forget(self, layer: int) -> None:
        """Drop what the policy finds redundant, if it does so before attention."""
        if self.policy.before_attention:
            self._evict(layer)

    def recall(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values (batch, heads, tokens, head_dim) that the current frame attends."""
        tokens = self._store.read(layer)
        return tokens.keys, tokens.values

    def end_frame(self) -> None:
        """Drop what leaves after attention; send for the new scores; make room for a frame."""
        if not self.policy.before_attention:
            for layer in range(len(self._scores)):
                self._evict(layer)
        if self._new_scores:  # one transfer for all layers
            self._late_scores = LateValues(self._new_scores)
            self._new_scores = {}
        self._fit_storage()

    def configure(self, policy: RetentionPolicy, precision: Precision, anchor_frames: int) -> None:
        """Another policy, storage or number of anchors from the next frame on."""
        if anchor_frames != self.anchor_frames:
            self._means.reset()
        other_notes = type(policy) is not type(self.policy)
        self.policy, self.anchor_frames = policy, anchor_frames
        self._convert(precision)
        if other_notes:
            self._note_again()

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

    def _evict(self, layer: int) -> None:
        surplus = self._store.lengths[layer] - self._limits[layer]
        if surplus <= 0:
            return
        view = self._view(layer)
        indices = self.policy.choose(view, surplus)
        score = self.policy.score(view)
        if score is not None:
            self._new_scores[layer] = score
        if self._means.knows(layer):
            self._means.remove(layer, view.tokens.unit_keys(indices))
        self._store.drop(layer, indices)

    def _view(self, layer: int) -> LayerView:
        tokens = self._store.read(layer)
        candidates = tokens.frames >= self.anchor_frames
        mean = tokens.notes.new_empty(0)
        if self.policy.uses_mean_key:
            mean = self._mean_key(layer, tokens, candidates)
        return LayerView(tokens, candidates, self._frame, self._tokens_per_frame, mean)

    def _mean_key(self, layer: int, tokens: StoredTokens, candidates: Tensor) -> Tensor:
        if not self._means.knows(layer):
            self._means.set(layer, tokens.unit_keys(), candidates)
        return self._means.mean(layer, candidates.sum(dim=-1))

    def _fit_storage(self) -> None:
        """Room for one more frame: grow towards the budget, never past it, or shrink after it."""
        wanted = self._wanted_slots()
        if wanted != self._store.slots:
            self._store.resize(wanted)
        self._store.make_room(self._tokens_per_frame)

    def _wanted_slots(self) -> int:
        layers, tokens = len(self._scores), self._tokens_per_frame
        needed = sum(self._store.lengths) + layers * tokens
        capacity = self.policy.wanted(layers, self.anchor_frames, tokens)
        most = max(needed, min(UNLIMITED, capacity + layers * tokens))
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
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        own = self._store.precision
        self._scores, self._late_scores = list(state["scores"]), None
        self._store.load_state_dict(state["store"], device)
        self._means.load_state_dict(state["means"], device)
        self._convert(own)
