# SPDX-License-Identifier: Apache-2.0
"""Settings of a stream's memory."""

from dataclasses import dataclass

from infinitevggt_core.config import UNLIMITED, check_options, option
from infinitevggt_core.memory.budget import Budget, CacheShape
from infinitevggt_core.memory.policies.base import RetentionPolicy
from infinitevggt_core.memory.policies.registry import POLICIES, make_policy
from infinitevggt_core.memory.policies.window import Window
from infinitevggt_core.memory.precision import PRECISIONS


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """Settings of a stream's memory. `StreamSession.configure` changes them between two frames."""

    policy: str = option(
        "frames",
        "tokens to keep besides the anchors: frames, whole frames that complement each other "
        "(FrameVGGT); diversity, the keys least similar to the mean key (InfiniteVGGT); "
        "importance, the tokens with the largest updates (OVGGT); window, the latest frames; "
        "trajectory, the latest frames and the special tokens of earlier ones (LingBot-Map); full, "
        "everything",
        choices=POLICIES.keys(),
    )
    policy_options: str = option("", "the policy's own settings: name=value, separated by commas")
    total_budget: int = option(
        600_000,
        "tokens kept per stream, summed over the global layers; policies window and trajectory "
        "count frames instead",
        unit="tokens",
        low=1,
        high=UNLIMITED,
    )
    limit_mb: int = option(
        0,
        "most memory of the stream, over every cache; 0: no limit but the budget",
        unit="MB",
        low=0,
        high=10_000_000,
    )
    target_ms: float = option(
        0.0,
        "target time per frame: the budget moves below total_budget and limit_mb to hold it; "
        "0: no target",
        unit="ms",
        low=0.0,
        high=1e6,
    )
    anchor_frames: int = option(
        1, "first frames of the stream, never evicted", unit="frames", low=0, high=1000
    )
    window: int = option(
        5,
        "policies window, frames and trajectory: latest frames kept besides the anchors; "
        "LingBot-Map was published with 64",
        unit="frames",
        low=1,
        high=10_000,
    )
    trajectory_frames: int = option(
        256,
        "policy trajectory: frames before the window of which the special tokens and the camera "
        "token are kept; 0: all, as published, without a bound",
        unit="frames",
        low=0,
        high=1_000_000,
    )
    start_frames: int = option(
        0,
        "frames that start the stream together, each of them seeing all; 0: as the network was "
        "trained (LingBot-Map 8, others 1); applies from the next start of a stream",
        unit="frames",
        low=0,
        high=100,
    )
    keyframe_interval: int = option(
        1,
        "every n-th frame is stored; the frames between see the memory and leave nothing in it",
        unit="frames",
        low=1,
        high=10_000,
    )
    camera_memory: str = option(
        "per_iteration",
        "cache of the camera head: one per refinement (equals the batch causal forward), or one "
        "shared by all refinements (released InfiniteVGGT); changes before the first image only",
        choices=("per_iteration", "shared"),
    )
    camera_frames: int = option(
        256,
        "latest frames in the camera head's cache besides the anchors; policies window and "
        "trajectory have their own number",
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

    def check_budget(
        self, layers: int, tokens_per_frame: int, pinned: int = 0, start_frames: int = 1
    ) -> Budget:
        """Return the budget of a stream. Raises ValueError naming the smallest budget that works,
        if this one does not.

        pinned: anchor frames besides the first ones and the policy's own. start_frames: frames of
        the joint start.
        """
        policy = token_policy(self)
        anchors = policy.anchor_frames(self.anchor_frames, start_frames) + pinned
        anchors += policy.most_temporary_anchors
        shape = CacheShape(layers, tokens_per_frame, anchors)
        budget = Budget(requested=policy.capacity(shape), minimum=shape.minimum)
        if budget.requested < budget.minimum:
            raise ValueError(
                f"total_budget {budget.requested} tokens cannot hold {anchors} anchor frame(s) and "
                f"one more in each of {layers} layers at {tokens_per_frame} tokens a frame: the "
                f"smallest that works is {budget.minimum}"
            )
        return budget


def token_policy(config: MemoryConfig) -> RetentionPolicy:
    """Construct the policy of the global layers. Raises ValueError naming an option that is
    wrong."""
    return make_policy(config.policy, config.policy_options, config)


def camera_policy(config: MemoryConfig) -> Window:
    """Construct the policy of the camera head's cache: the latest frames, as many as the policy of
    the global layers says."""
    frames = token_policy(config).camera_frames(config.camera_frames)
    return Window(min(frames, config.camera_frames) if config.limit_mb else frames)
