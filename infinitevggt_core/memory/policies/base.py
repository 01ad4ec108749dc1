# SPDX-License-Identifier: Apache-2.0
"""Interface of a retention policy, and the registry of policies by name.

A policy is a frozen dataclass in a file of its own. Its fields are its settings:

    @register("newest")
    @dataclass(frozen=True)
    class Newest(RetentionPolicy):
        total_budget: int                                            # from MemoryConfig
        half_life: float = option(30.0, "...", low=1.0, high=1e6)    # its own: policy_options

        def capacity(self, shape):
            return self.total_budget

        def score(self, layer):
            return (layer.tokens.frames - layer.frame) / self.half_life

A package registers its policies with the node by an entry point of the group
`infinitevggt.policies` that names their module.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from infinitevggt_core.memory.anchors import Anchors
from infinitevggt_core.memory.budget import CacheShape
from infinitevggt_core.memory.frame_numbers import FrameNumbers
from infinitevggt_core.memory.mean_key import inverse_norms
from infinitevggt_core.memory.stored_tokens import StoredTokens

ENTRY_POINTS = "infinitevggt.policies"
POLICIES: dict[str, type["RetentionPolicy"]] = {}
"""The policies by name."""

Policy = TypeVar("Policy", bound="RetentionPolicy")


@dataclass(frozen=True, slots=True)
class LayerView:
    """One layer that holds more tokens than its budget, as a policy sees it."""

    tokens: StoredTokens
    candidates: Tensor
    """(batch, heads, tokens) bool: True if a token may be evicted, False for anchors."""
    anchors: Anchors
    frame: int
    """Latest frame, counted in stored frames."""
    numbers: FrameNumbers
    """The same and the later anchors on the device. With them an eviction is the same program in
    every frame, which a CUDA graph can hold."""
    shape: CacheShape
    total: int
    """Budget of all layers."""
    surplus: int
    """Number of tokens to evict in each head."""
    mean_key: Tensor
    """(batch, heads, head_dim) fp32 mean of the normalised candidates; empty unless the policy sets
    `uses_mean_key`."""
    frame_means: Tensor
    """(batch, heads, frames, head_dim) fp32 mean of the keys of each `tokens_per_frame` tokens;
    empty unless the policy sets `uses_frame_means`."""
    has_whole_frames: bool
    """True if the tokens are whole frames, one after another in the same order in all heads."""

    @property
    def tokens_per_frame(self) -> int:
        return self.shape.tokens_per_frame

    @property
    def now(self) -> Tensor:
        """Latest frame as a scalar on the device."""
        return self.numbers.now(self.tokens.frames.device)

    @property
    def recency(self) -> Tensor:
        """(batch, heads, tokens) fp32: 0 for tokens of the latest frame, -1 for the one before.
        Exact for any length of stream."""
        return (self.tokens.frames - self.now).float()


@dataclass(frozen=True)
class RetentionPolicy(ABC):
    """Number of tokens to keep, and a score of each token by which the others are evicted.

    This class selects the tokens and protects the anchors; a policy never modifies tokens.
    """

    before_attention: ClassVar[bool] = False
    """True if a frame attends the tokens left after eviction (InfiniteVGGT); else eviction follows
    attention."""
    uses_mean_key: ClassVar[bool] = False
    """True if `score` reads the mean key. The metadata of a token is then 1 / norm of its key."""
    watches_updates: ClassVar[bool] = False
    """True if `update_metadata` is called with the output of the feed-forward layers."""
    marks_specials: ClassVar[bool] = False
    """True if the metadata of a token is 1 for special tokens and 0 for patches."""

    uses_frame_means: ClassVar[bool] = False
    """True if `score` reads the mean keys of the frames."""
    keeps_whole_frames: ClassVar[bool] = False
    """True if only whole frames are evicted, in all heads."""
    takes_all_layers: ClassVar[bool] = False
    """True if layers may be evicted as one batch: `score` treats each element of the batch by
    itself, and there is no `similarity`."""

    is_steady: ClassVar[bool] = False
    """True if frames are the same sequence of operations while the memory is full: `score` reads
    the number of the frame as `now`, not as `frame`, anchors as `numbers`, not as `anchors`, and
    nothing goes to the host. Then a graph of the device replays them."""

    @property
    def fits_graph(self) -> bool:
        """True if a graph of the device may replay frames while the memory is full."""
        return self.is_steady

    @property
    def allocation_frames(self) -> int:
        """Number of stored frames for which an allocation holds."""
        return 1

    @abstractmethod
    def capacity(self, shape: CacheShape) -> int:
        """Return the most tokens to keep in all layers together; UNLIMITED for no bound."""

    @abstractmethod
    def score(self, layer: LayerView) -> Tensor:
        """Return (batch, heads, tokens) fp32 scores; the lowest are evicted first."""

    def allocate(self, total: int, similarities: list[float], shape: CacheShape) -> list[int]:
        """Divide `total` tokens over the layers, given their similarities.

        `total` is at least `shape.minimum`; each layer must be given (anchors + 1) frames or more.
        """
        return [total // shape.layers] * shape.layers

    def similarity(self, layer: LayerView) -> Tensor | None:
        """Return a scalar measure of how similar the keys of a layer are, if `allocate` needs
        it."""
        return None

    def camera_frames(self, configured: int) -> int:
        """Return the number of latest frames, besides the anchors, in the camera head's cache."""
        return configured

    def anchor_frames(self, configured: int, start_frames: int) -> int:
        """Return the number of first frames that are anchors."""
        return configured

    def metadata(self, tokens: StoredTokens) -> Tensor | float:
        """Return the metadata (batch, heads, tokens) of tokens that were just stored."""
        return inverse_norms(tokens.keys) if self.uses_mean_key else 0.0

    def update_metadata(self, updates: Tensor) -> Tensor:
        """Return the metadata (batch, tokens) of the current frame's tokens, given the output of
        the layer's feed-forward part for them, (batch, tokens, dim)."""
        raise NotImplementedError

    @property
    def most_temporary_anchors(self) -> int:
        """Largest number of frames that `temporary_anchors` returns."""
        return 0

    def temporary_anchors(self, frame: int) -> set[int]:
        """Return frames, up to the current one, that are anchors for now."""
        return set()

    def choose(self, layer: LayerView, leaving: Tensor | None = None) -> Tensor:
        """Return indices (batch, heads, surplus) of the tokens to evict.

        leaving: (batch, heads, tokens) bool, tokens that are evicted before any other.
        """
        score = self.score(layer).masked_fill(~layer.candidates, torch.inf)
        if leaving is not None:
            score = score.masked_fill(leaving, -torch.inf)
        return score.topk(layer.surplus, dim=-1, largest=False, sorted=False).indices


def register(name: str) -> Callable[[type[Policy]], type[Policy]]:
    """Register a policy class under a name. Raises ValueError if the name is taken, or if the class
    sets flags that exclude each other."""

    def keep(policy: type[Policy]) -> type[Policy]:
        if name in POLICIES:
            raise ValueError(f"policy {name!r} is already registered: {POLICIES[name]}")
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
