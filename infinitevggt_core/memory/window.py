"""STream3R's window: the anchors and the latest frames."""

from dataclasses import dataclass

from torch import Tensor

from infinitevggt_core.memory.policy import LayerView, RetentionPolicy, register


@register("window")
@dataclass(frozen=True)
class Window(RetentionPolicy):
    """Anchors and the latest `window` frames. A frame still attends the one that leaves after it
    (the session form of model_spec.md section 9)."""

    window: int

    def wanted(self, layers: int, anchors: int, tokens_per_frame: int) -> int:
        return layers * (anchors + self.window) * tokens_per_frame

    def split(
        self, total: int, scores: list[float], anchors: int, tokens_per_frame: int
    ) -> list[int]:
        frames = total // (len(scores) * tokens_per_frame)  # whole ones
        return [frames * tokens_per_frame] * len(scores)

    def redundancy(self, layer: LayerView) -> Tensor:
        return (layer.frame - layer.tokens.frames).float()  # an age: exact however long the stream

    def camera_frames(self, configured: int) -> int:
        return self.window
