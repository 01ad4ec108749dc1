# SPDX-License-Identifier: Apache-2.0
"""How far apart two cameras stand, as a network sees it whose guess of their turn is not needed."""

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.model.prediction import Prediction

Array = NDArray[np.float64]


def seen_baseline(one: Prediction, other: Prediction, turned: Array) -> tuple[float, float]:
    """Distance of two cameras in the network's unit, and the share of it that is in doubt.

    one, other: [1, ...]. turned: 3 x 3, how the other camera stands in the first one's axes.

    A small turn and a step to the side look alike, and a network takes one for the other. What it
    calls a turn where none is known to be was a step: the one which leaves the middle of what the
    other camera sees where the network has put it. How much of the distance it hid so says how well
    it knows such views, which it shows again and again in the same way.
    """
    (rotation, translation), depth = _pose_between(one, other), float(other.depth.median())
    hidden = (rotation - turned) @ (0.0, 0.0, depth)
    distance = float(np.linalg.norm(translation + hidden))
    return distance, float(np.linalg.norm(hidden)) / distance if distance else np.inf


def _pose_between(one: Prediction, other: Prediction) -> tuple[Array, Array]:
    """Rotation and position of the other camera in the first."""
    poses = (found.camera_from_world[0].double().cpu().numpy() for found in (one, other))
    (here, to_here), (there, to_there) = ((pose[:, :3], pose[:, 3]) for pose in poses)
    rotation = here @ there.T
    return rotation, to_here - rotation @ to_there
