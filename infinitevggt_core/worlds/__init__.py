# SPDX-License-Identifier: Apache-2.0
"""Synthetic worlds: furnished rooms with exact depth, poses and surfaces, generated from a seed."""

from infinitevggt_core.worlds.clips import sample_clips
from infinitevggt_core.worlds.config import LEVELS, MOTIONS, WorldConfig
from infinitevggt_core.worlds.frames import WorldClips, WorldFrame
from infinitevggt_core.worlds.world import World

__all__ = [
    "LEVELS",
    "MOTIONS",
    "World",
    "WorldClips",
    "WorldConfig",
    "WorldFrame",
    "sample_clips",
]
