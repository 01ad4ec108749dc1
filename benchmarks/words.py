# SPDX-License-Identifier: Apache-2.0
"""Makes the vocabulary that places are compared with, from one synthetic world.

Example: python -m benchmarks.words --out infinitevggt_core/weights/words.safetensors
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.film import corners_of, keyframe_views
from infinitevggt_core.tracking.place import describe
from infinitevggt_core.tracking.vocabulary import SHIPPED, Vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, default=SHIPPED)
    add("--seed", type=int, default=30001, help="of the world, which no figure is measured on")
    add("--frames", type=int, default=900, help="of its walk, every third of which is used")
    add("--words", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(1)
    views = keyframe_views(options.seed, "standard", options.frames, 3)
    descriptors = [describe(view.gray, corners_of(view.gray))[1] for view in views]
    Vocabulary.train(np.concatenate(descriptors), options.words).save(options.out)


if __name__ == "__main__":
    main()
