"""A memory that rolls with its stream: remember a frame, forget the redundant, recall the rest."""

from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory.policy import RetentionPolicy
from infinitevggt_core.memory.token_store import TokenStore

GROWTH = 2


class RollingMemory:
    """Keys and values of one stream (or of streams in step), layer by layer, under one policy.

    Between `begin_frame` and `end_frame` every layer calls remember, forget, recall, in this order.
    """

    def __init__(self, layers: int, policy: RetentionPolicy, dtype: torch.dtype) -> None:
        self.policy = policy
        self.dtype = dtype
        self.scores = [0.0] * layers
        """Mean redundancy of each layer when it last forgot by a policy that scores layers; 0
        before that."""
        self._store = TokenStore(layers)
        self._limits: list[int] = []
        self._new_scores: dict[int, Tensor] = {}
        self._frame = 0
        self._tokens_per_frame = 0

    @property
    def lengths(self) -> list[int]:
        """Tokens held per layer."""
        return list(self._store.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes held, free slots included."""
        return self._store.nbytes

    def frames(self, layer: int) -> Tensor:
        """(batch, heads, tokens): the frame each token of a layer came from."""
        return self._store.read(layer)[2]

    def begin_frame(self, frame: int, tokens_per_frame: int) -> None:
        """Split the budget by the last scores, before any layer runs."""
        self._frame, self._tokens_per_frame = frame, tokens_per_frame
        self._limits = self.policy.limits(self.scores, tokens_per_frame)

    def remember(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Add tokens (batch, heads, tokens, head_dim) of the current frame."""
        if not self._store.slots:
            self._store.allocate(keys, self.dtype, self._wanted_slots())
        self._store.append(layer, keys, values, self._frame)

    def forget(self, layer: int) -> None:
        """Drop what the policy finds redundant, if it does so before attention."""
        if self.policy.before_attention:
            self._evict(layer)

    def recall(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values (batch, heads, tokens, head_dim) that the current frame attends."""
        keys, values, _ = self._store.read(layer)
        return keys, values

    def end_frame(self) -> None:
        """Take over the new scores; drop what leaves after attention."""
        if not self.policy.before_attention:
            for layer in range(len(self.scores)):
                self._evict(layer)
        if self._new_scores:  # one transfer for all layers, not one a layer
            values = torch.stack(list(self._new_scores.values())).tolist()
            for layer, score in zip(self._new_scores, values, strict=True):
                self.scores[layer] = score
            self._new_scores.clear()
        self._fit_storage()

    def configure(self, policy: RetentionPolicy, dtype: torch.dtype) -> None:
        """Another policy or storage precision from the next frame on."""
        self.policy = policy
        if dtype != self.dtype and self._store.slots:
            self._store.allocate(self._store.read(0)[0], dtype, self._store.slots)
        self.dtype = dtype

    def _evict(self, layer: int) -> None:
        surplus = self._store.lengths[layer] - self._limits[layer]
        if surplus <= 0:
            return
        keys, _, frames = self._store.read(layer)
        indices, score = self.policy.choose(keys, frames, surplus)
        self._store.drop(layer, indices)
        if self.policy.scores_layers:
            self._new_scores[layer] = score

    def _fit_storage(self) -> None:
        """Room for one more frame: grow towards the budget, never past it, or shrink after it."""
        wanted = self._wanted_slots()
        if wanted != self._store.slots:
            self._store.allocate(self._store.read(0)[0], self.dtype, wanted)
        self._store.make_room(self._tokens_per_frame)

    def _wanted_slots(self) -> int:
        layers, tokens = len(self.scores), self._tokens_per_frame
        needed = sum(self._store.lengths) + layers * tokens
        capacity = self.policy.capacity(layers, tokens)
        most = max(needed, UNLIMITED if capacity is None else capacity + layers * tokens)
        if needed <= self._store.slots <= most:
            return self._store.slots
        roomy = GROWTH * needed
        # less than one growth before the bound, go to it: the next copy of all would come so soon
        return roomy if GROWTH * roomy <= most else most

    def state_dict(self) -> dict[str, Any]:
        """Everything `load_state_dict` needs to go on as if never stopped."""
        return {"scores": list(self.scores), "store": self._store.state_dict()}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.scores = list(state["scores"])
        self._store.load_state_dict(state["store"], device)
