"""The policies by name, and which one bounds the camera head's memory."""

from infinitevggt_core.config import MemoryConfig
from infinitevggt_core.memory.diversity import Diversity
from infinitevggt_core.memory.full import Full
from infinitevggt_core.memory.policy import RetentionPolicy
from infinitevggt_core.memory.window import Window

POLICIES: dict[str, type[RetentionPolicy]] = {
    "diversity": Diversity,
    "window": Window,
    "full": Full,
}


def token_policy(config: MemoryConfig) -> RetentionPolicy:
    """What the global layers keep."""
    return POLICIES[config.policy](config)


def camera_policy(config: MemoryConfig) -> RetentionPolicy:
    """What the camera head keeps: all frames, the same window, or a window of its own."""
    if config.policy == "diversity":
        return Window(config, config.camera_frames)
    return token_policy(config)
