# SPDX-License-Identifier: Apache-2.0
"""Errors of poses, depth and maps by the field's definitions, in NumPy float64.

trajectory.py: ATE, RPE, rotation. depth.py: AbsRel, delta. cloud.py: accuracy, completion, normal
consistency. synthetic_world.py: all of them for one synthetic world.
"""

from infinitevggt_core.evaluation.cloud import CloudErrors, cloud_errors
from infinitevggt_core.evaluation.depth import DepthErrors, DepthSample
from infinitevggt_core.evaluation.similarity import Similarity
from infinitevggt_core.evaluation.trajectory import TrajectoryErrors, trajectory_errors

__all__ = [
    "CloudErrors",
    "DepthErrors",
    "DepthSample",
    "Similarity",
    "TrajectoryErrors",
    "cloud_errors",
    "trajectory_errors",
]
