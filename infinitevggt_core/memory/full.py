"""StreamVGGT: keep everything. Unbounded, for comparison and short clips."""

from typing import ClassVar

from torch import Tensor

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory.policy import RetentionPolicy


class Full(RetentionPolicy):
    """Every token of every frame."""

    before_attention: ClassVar[bool] = False

    def limits(self, scores: list[float], tokens_per_frame: int) -> list[int]:
        return [UNLIMITED] * len(scores)

    def capacity(self, layers: int, tokens_per_frame: int) -> None:
        return None

    def redundancy(self, keys: Tensor, frames: Tensor, candidates: Tensor) -> Tensor:
        return (frames.amax() - frames).float()  # an age: exact however long the stream
