# SPDX-License-Identifier: Apache-2.0
"""The settings of a stream's memory."""

from dataclasses import dataclass

from infinitevggt_core.config import UNLIMITED, check_options, option
from infinitevggt_core.memory.policies.registry import POLICIES, token_policy
from infinitevggt_core.memory.precision import PRECISIONS


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """What a stream remembers. Changes between two frames through `StreamSession.configure`."""

    policy: str = option(
        "frames",
        "what to keep besides the anchors: frames, whole frames that add most (FrameVGGT); "
        "diversity, the keys least like the mean key (InfiniteVGGT); importance, the tokens with "
        "the largest updates (OVGGT); window, the latest frames; full, everything",
        choices=POLICIES.keys(),
    )
    policy_options: str = option(
        "", "settings of the policy that are its own: name=value, with commas between"
    )
    total_budget: int = option(
        600_000,
        "tokens kept per stream, summed over the global layers; policy window goes by its frames",
        unit="tokens",
        low=1,
        high=UNLIMITED,
    )
    limit_mb: int = option(
        0,
        "most memory of the stream, over every cache; 0: none but the budget",
        unit="MB",
        low=0,
        high=10_000_000,
    )
    target_ms: float = option(
        0.0,
        "time a frame should take: the budget moves below total_budget and limit_mb to hold it; "
        "0: none",
        unit="ms",
        low=0.0,
        high=1e6,
    )
    anchor_frames: int = option(
        1, "first frames of the stream, never evicted", unit="frames", low=0, high=1000
    )
    window: int = option(
        5,
        "policies window and frames: latest frames kept besides the anchors",
        unit="frames",
        low=1,
        high=10_000,
    )
    camera_memory: str = option(
        "per_iteration",
        "camera head: one memory per refinement (equals the batch causal forward), or one that the "
        "refinements share (released InfiniteVGGT); changes before the first image only",
        choices=("per_iteration", "shared"),
    )
    camera_frames: int = option(
        256,
        "latest frames the camera head remembers besides the anchors; policy window has its own",
        unit="frames",
        low=1,
        high=100_000,
    )
    dtype: str = option(
        "auto",
        "storage of keys and values; auto: the precision of the network; int8: with a scale per "
        "token and head",
        choices=PRECISIONS,
    )

    def __post_init__(self) -> None:
        check_options(self)
        token_policy(self)

    def smallest_budget(self, layers: int, tokens_per_frame: int, pinned: int = 0) -> int:
        """Least tokens kept: the anchors and one more frame in every global layer."""
        anchors = self.anchor_frames + token_policy(self).most_own_anchors + pinned
        return layers * (anchors + 1) * tokens_per_frame

    def check_budget(self, layers: int, tokens_per_frame: int, pinned: int = 0) -> None:
        """Raise ValueError naming the smallest budget that works, if this one does not.

        pinned: anchor frames beside the first ones and the policy's own.
        """
        smallest = self.smallest_budget(layers, tokens_per_frame, pinned)
        anchors = smallest // (layers * tokens_per_frame) - 1
        wanted = token_policy(self).wanted(layers, anchors, tokens_per_frame)
        if wanted < smallest:
            raise ValueError(
                f"total_budget {wanted} tokens cannot hold {anchors} anchor "
                f"frame(s) and one more in each of {layers} layers at {tokens_per_frame} tokens a "
                f"frame: the smallest that works is {smallest}"
            )
