# SPDX-License-Identifier: Apache-2.0
"""Distance between two cameras by the network, given their relative rotation."""

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.model.prediction import Prediction

Array = NDArray[np.float64]


def predicted_baseline(one: Prediction, other: Prediction, rotation: Array) -> tuple[float, float]:
    """Return the distance of two cameras in the network's unit, and its relative standard
    deviation.

    one, other: [1, ...]. rotation: 3 x 3, of the other camera in the axes of the first.

    A small rotation and a step to the side look alike, and the network confuses them. The part of
    its rotation that differs from the known one is taken as a step: the step that keeps the centre
    of the other camera's view in place. The share of that step in the distance is the relative
    standard deviation. It is a systematic error: more images of the same views do not reduce it.
    """
    (predicted, translation), depth = _pose_between(one, other), float(other.depth.median())
    hidden = (predicted - rotation) @ (0.0, 0.0, depth)
    distance = float(np.linalg.norm(translation + hidden))
    return distance, float(np.linalg.norm(hidden)) / distance if distance else np.inf


def _pose_between(one: Prediction, other: Prediction) -> tuple[Array, Array]:
    """Return rotation and position of the other camera in the first."""
    poses = (found.camera_from_world[0].double().cpu().numpy() for found in (one, other))
    (here, to_here), (there, to_there) = ((pose[:, :3], pose[:, 3]) for pose in poses)
    rotation = here @ there.T
    return rotation, to_here - rotation @ to_there
