# SPDX-License-Identifier: Apache-2.0
"""Binary words: what kinds of corners there are, for telling places apart."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Bytes = NDArray[np.uint8]
Floats32 = NDArray[np.float32]
SHIPPED = Path(__file__).parents[1] / "weights" / "words.safetensors"
"""Made by `python -m benchmarks.words`."""
ROUNDS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """W words of 256 bits.

    Rare words do not count more: that found fewer places, in worlds and in a real kitchen.
    """

    words: Bytes
    """(W, 32)."""

    @classmethod
    def load(cls, path: Path = SHIPPED) -> "Vocabulary":
        """Raises OSError or ValueError for a file that is none."""
        tensors = load_file(path)
        if "words" not in tensors:
            raise ValueError(f"{path} holds no vocabulary")
        return cls(tensors["words"])

    @classmethod
    def train(cls, descriptors: Bytes, count: int, seed: int = 0) -> "Vocabulary":
        """Cluster descriptors (N, 32) by the majority of their bits.

        Raises ValueError for fewer different descriptors than words.
        """
        dice = np.random.default_rng(seed)
        descriptors = np.unique(descriptors, axis=0)
        if len(descriptors) < count:
            raise ValueError(f"{count} words need as many descriptors, not {len(descriptors)}")
        words = descriptors[dice.choice(len(descriptors), count, replace=False)]
        bits = np.unpackbits(descriptors, axis=1)
        for _ in range(ROUNDS):
            nearest = nearest_words(descriptors, words)
            for word in range(count):
                members = bits[nearest == word]
                if len(members):
                    words[word] = np.packbits(members.mean(axis=0) > 0.5)
                else:
                    words[word] = descriptors[dice.integers(len(descriptors))]
        return cls(words)

    def save(self, path: Path) -> None:
        save_file({"words": self.words}, path)

    def histogram(self, descriptors: Bytes) -> Floats32:
        """(N, 32) -> (W,): roots of the words' shares, of length 1; 0 without corners."""
        counts = np.bincount(nearest_words(descriptors, self.words), minlength=len(self.words))
        return np.asarray(np.sqrt(counts / max(len(descriptors), 1)), dtype=np.float32)


def nearest_words(descriptors: Bytes, words: Bytes) -> NDArray[np.int64]:
    """(N, 32) and (W, 32) -> (N,): by the number of bits that differ."""
    if not len(descriptors):
        return np.zeros(0, dtype=np.int64)
    _, nearest = cv2.batchDistance(
        descriptors, words, dtype=cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1
    )
    return np.asarray(nearest[:, 0], dtype=np.int64)
