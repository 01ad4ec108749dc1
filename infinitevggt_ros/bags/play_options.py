# SPDX-License-Identifier: Apache-2.0
"""What to play of a bag, and how."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from infinitevggt_ros.bags.lockstep import LockstepOptions


@dataclass(frozen=True)
class PlayOptions:
    """What to play, and how. Topics are named as recorded."""

    rate: float = 1.0  # bag seconds per wall second; inf: no waiting
    loop: bool = False
    start_s: float = 0.0  # skip this much of the bag; latched messages (/tf_static) still come
    duration_s: float = math.inf  # of the bag
    topics: Collection[str] = ()  # empty: all
    remaps: Mapping[str, str] = field(default_factory=dict)  # recorded name to live name
    clock_hz: float = 100.0  # wall; 0: no /clock
    image_topics: Collection[str] = ()  # empty: found by their type
    wait_for_subscriber_s: float = 10.0
    wait_for_node: str = ""  # full name of the subscriber; empty: anybody, in lockstep who answers
    lockstep: LockstepOptions | None = None  # waits for the node at every image
