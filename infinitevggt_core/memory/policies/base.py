# SPDX-License-Identifier: Apache-2.0
"""What a memory keeps: one small class per policy, chosen by name.

A policy is a frozen dataclass in a file of its own, and its fields are its settings:

    @register("newest")
    @dataclass(frozen=True)
    class Newest(RetentionPolicy):
        total_budget: int                                            # given by MemoryConfig
        half_life: float = option(30.0, "...", low=1.0, high=1e6)    # its own: policy_options

        def wanted(self, layers, anchors, tokens_per_frame):
            return self.total_budget

        def redundancy(self, layer):
            return (layer.frame - layer.tokens.frames) / self.half_life

A package makes its policies known to the node by an entry point of the group
`infinitevggt.policies` that names their module.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from infinitevggt_core.memory.mean_key import inverse_norms
from infinitevggt_core.memory.token_store import StoredTokens

ENTRY_POINTS = "infinitevggt.policies"
POLICIES: dict[str, type["RetentionPolicy"]] = {}
"""The policies by name."""

Policy = TypeVar("Policy", bound="RetentionPolicy")


@dataclass(frozen=True, slots=True)
class LayerView:
    """What a policy sees of a layer that holds too much."""

    tokens: StoredTokens
    candidates: Tensor
    """(batch, heads, tokens) bool: what may be forgotten, which anchors may not."""
    frame: int
    """The latest frame."""
    tokens_per_frame: int
    surplus: int
    """Tokens to forget in each head."""
    mean_key: Tensor
    """(batch, heads, head_dim) fp32, of the normalised candidates; empty unless the policy uses
    it."""

    @property
    def ages(self) -> Tensor:
        """(batch, heads, tokens) fp32 frames since a token came: exact however long the stream."""
        return (self.frame - self.tokens.frames).float()


@dataclass(frozen=True)
class RetentionPolicy(ABC):
    """A policy says how many tokens to keep and which are the most redundant ones.

    This class picks them and protects the anchors; a policy never touches the tokens it is shown.
    """

    before_attention: ClassVar[bool] = False
    """True: a frame attends what is left after forgetting, its own tokens among them (paper)."""
    uses_mean_key: ClassVar[bool] = False
    """True: the memory keeps the mean of the normalised keys, and notes 1 / norm of each key."""
    watches_updates: ClassVar[bool] = False
    """True: `note_updates` is shown what the feed-forward parts of the global blocks add."""

    @abstractmethod
    def wanted(self, layers: int, anchors: int, tokens_per_frame: int) -> int:
        """Tokens to keep in all layers together after a frame, `anchors` frames among them;
        UNLIMITED: no bound."""

    @abstractmethod
    def redundancy(self, layer: LayerView) -> Tensor:
        """(batch, heads, tokens) fp32: how little each token says; the highest are forgotten
        first."""

    def split(
        self, total: int, scores: list[float], anchors: int, tokens_per_frame: int
    ) -> list[int]:
        """Of `total` tokens each layer's, given its last score: the anchors and a frame more at
        least, which `total` has."""
        return [total // len(scores)] * len(scores)

    def score(self, layer: LayerView) -> Tensor | None:
        """A scalar that says how alike the keys of a layer are, for `split`, if it is of use."""
        return None

    def camera_frames(self, configured: int) -> int:
        """Latest frames that the camera head remembers besides the anchors."""
        return configured

    def note(self, tokens: StoredTokens) -> Tensor | float:
        """What to note about tokens (batch, heads, tokens) that were just stored."""
        return inverse_norms(tokens.keys) if self.uses_mean_key else 0.0

    def note_updates(self, updates: Tensor) -> Tensor:
        """What to note (batch, tokens) about the current frame's tokens, given what the layer's
        feed-forward part adds to them, (batch, tokens, dim)."""
        raise NotImplementedError

    @property
    def most_own_anchors(self) -> int:
        """Most frames that `own_anchors` names."""
        return 0

    def own_anchors(self, frame: int) -> set[int]:
        """Frames, up to the current one, that are anchors now beside the first ones."""
        return set()

    def choose(self, layer: LayerView, leaving: Tensor | None = None) -> Tensor:
        """Indices (batch, heads, surplus) of the tokens to forget; those `leaving`, (batch, heads,
        tokens) bool, before any other."""
        redundancy = self.redundancy(layer).masked_fill(~layer.candidates, -torch.inf)
        if leaving is not None:
            redundancy = redundancy.masked_fill(leaving, torch.inf)
        return redundancy.topk(layer.surplus, dim=-1, sorted=False).indices


def whole_frames(total: int, layers: int, tokens_per_frame: int) -> list[int]:
    """Of `total` tokens the same number of whole frames for each layer, in tokens."""
    frames = total // (layers * tokens_per_frame)
    return [frames * tokens_per_frame] * layers


def register(name: str) -> Callable[[type[Policy]], type[Policy]]:
    """Make a policy known by its name. Raises ValueError if it cannot be."""

    def keep(policy: type[Policy]) -> type[Policy]:
        if name in POLICIES:
            raise ValueError(f"there is a policy {name!r} already: {POLICIES[name]}")
        if policy.before_attention and policy.watches_updates:
            raise ValueError(
                f"policy {name!r} cannot have both before_attention and watches_updates: when "
                "updates are known, a frame's tokens no longer lie behind all others"
            )
        POLICIES[name] = policy
        return policy

    return keep


def load_entry_points() -> None:
    """Import the modules in which other packages register policies."""
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
