"""STream3R's window: the anchors and the latest frames."""

from typing import ClassVar

from torch import Tensor

from infinitevggt_core.config import MemoryConfig
from infinitevggt_core.memory.policy import RetentionPolicy


class Window(RetentionPolicy):
    """Anchors and the latest `frames` frames. A frame still attends the one that leaves after it
    (the session form of model_spec.md section 9)."""

    before_attention: ClassVar[bool] = False

    def __init__(self, config: MemoryConfig, frames: int | None = None) -> None:
        super().__init__(config)
        self.frames = config.window if frames is None else frames

    def limits(self, scores: list[float], tokens_per_frame: int) -> list[int]:
        return [(self.config.anchor_frames + self.frames) * tokens_per_frame] * len(scores)

    def capacity(self, layers: int, tokens_per_frame: int) -> int:
        return sum(self.limits([0.0] * layers, tokens_per_frame))

    def redundancy(self, keys: Tensor, frames: Tensor, candidates: Tensor) -> Tensor:
        return (frames.amax() - frames).float()  # an age: exact however long the stream
