# SPDX-License-Identifier: Apache-2.0
"""Old import path of `infinitevggt_ros.bags.truth`, for scripts of earlier versions."""

from infinitevggt_ros.bags.truth import BagTruth, NoTruthError

__all__ = ["BagTruth", "NoTruthError"]
