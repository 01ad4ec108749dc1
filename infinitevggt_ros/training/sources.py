# SPDX-License-Identifier: Apache-2.0
"""Sources of clips named by `infinitevggt train --source`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from infinitevggt_core.training import ClipSource
from infinitevggt_core.training.world_source import ValidationWorlds, WorldSource
from infinitevggt_ros.errors import CommandError


def build_sources(
    names: list[str],
    levels: Sequence[str],
    device: torch.device,
    *,
    labels_needed: bool,
    batch_frames: float,
) -> tuple[list[ClipSource], list[ClipSource]]:
    """Return sources for training and validation. Unreadable bags are skipped and reported.

    Raises CommandError if no source is left, or if labels are needed and a bag has none.
    """
    training: list[ClipSource] = []
    validation: list[ClipSource] = []
    skipped: list[str] = []
    for name in names:
        kind, _, path = name.partition(":")
        if name == "worlds":
            share = batch_frames / len(levels)
            for number, level in enumerate(levels):
                source = WorldSource(level, device, seed=number, batch_frames=share)
                training.append(source)
            validation += [ValidationWorlds(level, device) for level in dict.fromkeys(levels)]
        elif kind == "bag" and path:
            from infinitevggt_ros.training.bag_clips import BagClips  # worlds need no ROS

            try:
                bags = [BagClips(Path(path), held_out=held_out) for held_out in (False, True)]
            except CommandError as error:
                skipped.append(str(error))
                continue
            if labels_needed and not bags[0].has_labels:
                raise CommandError(
                    f"{path} has no {bags[0].missing}: name a checkpoint to learn from, --teacher"
                )
            training.append(bags[0])
            validation.append(bags[1])
        else:
            raise CommandError(f"--source {name} is neither worlds nor bag:PATH")
    if not training:
        raise CommandError("; ".join(skipped))
    for reason in skipped:
        print(f"skipped a bag: {reason}", file=sys.stderr)
    return training, validation
