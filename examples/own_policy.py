# SPDX-License-Identifier: Apache-2.0
"""A retention policy of your own: recent frames stay dense, older frames are thinned out.

Example: python examples/own_policy.py photos/ --half-life 10
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from infinitevggt_core import MemoryConfig, StreamSession, load_checkpoint
from infinitevggt_core.config import option
from infinitevggt_core.memory import LayerView, RetentionPolicy, register
from infinitevggt_core.memory.budget import CacheShape
from infinitevggt_core.memory.stored_tokens import StoredTokens


@register("thinning")
@dataclass(frozen=True)
class Thinning(RetentionPolicy):
    """Keep a random subset of each frame that halves with every `half_life` frames of age."""

    total_budget: int
    """Filled from the field of the same name of `MemoryConfig`."""
    half_life: float = option(
        30.0, "age at which half of the tokens of a frame are left", unit="frames", low=1, high=1e6
    )
    """Own setting: `MemoryConfig(policy_options="half_life=10")`."""

    def capacity(self, shape: CacheShape) -> int:
        return self.total_budget

    def metadata(self, tokens: StoredTokens) -> Tensor:
        """Draw one random number per token when it is stored. It stays with the token."""
        keys = tokens.keys  # (batch, heads, tokens, head_dim)
        return torch.rand(keys.shape[:3], device=keys.device)

    def score(self, layer: LayerView) -> Tensor:
        """A token of age a with random number u outlives the threshold 2^(-a / half_life) / u."""
        return layer.recency / self.half_life - layer.tokens.metadata.log2()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="directory of PNG or JPEG images")
    parser.add_argument("--half-life", type=float, default=10.0)
    parser.add_argument("--frames-held", type=int, default=8, help="budget, in frames per layer")
    options = parser.parse_args()

    model = load_checkpoint("tiny")
    paths = sorted(p for p in options.images.iterdir() if p.suffix.lower() in (".jpg", ".png"))
    session = None
    for path in paths:
        image, _ = model.preprocess(np.asarray(Image.open(path).convert("RGB")))
        if session is None:
            tokens = model.aggregator.tokens_per_frame(*image.shape[-2:])
            memory = MemoryConfig(
                policy="thinning",
                policy_options=f"half_life={options.half_life}",
                total_budget=options.frames_held * tokens * model.config.depth,
            )
            session = StreamSession(model, memory)
        session.push(image)
    if session is None:
        parser.error(f"no images in {options.images}")

    frames = session.token_frames(layer=0)[0]  # source frame of each token of the first head
    print("tokens kept of each frame in layer 0:")
    for frame, count in enumerate(torch.bincount(frames, minlength=len(paths)).tolist()):
        print(f"  frame {frame:3}: {count:4} {'#' * (count // 2)}")


if __name__ == "__main__":
    main()
