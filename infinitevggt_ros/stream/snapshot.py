# SPDX-License-Identifier: Apache-2.0
"""Plain values of a stream, for its status."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """State of a stream between two frames, as one of its cameras sees it."""

    frame_index: int
    """Number of frames since the last reset."""
    map_id: int
    last_reset: str
    """Reason of the last reset; empty if there was none."""
    error: str
    """Failure beside the images, such as a file that cannot be written; empty if there is none."""
    scale_source: str
    scale: float
    """Length in the map of one unit of the stream."""
    metres_per_unit: float
    """As measured now; NaN while unknown."""
    metres_per_unit_sigma: float
    """Standard deviation of `metres_per_unit`."""
    is_metric: bool
    """True if lengths are metres."""
    waiting_for: str
    """Reason why outputs wait; empty if they do not."""
    pose_state: str
    """Origin of the latest pose, see PoseEstimate."""
    gravity_source: str
    first_camera_tilt: float
    """Angle from level of the first camera of the map, rad."""
    policy: str
    total_budget: int
    """Tokens, as set."""
    budget: int
    """Tokens that may be kept now."""
    limit_mb: int
    """Limit of the memory besides its budget, MB; 0: none."""
    stored_tokens: tuple[int, ...]
    """Tokens per global layer."""
    memory_bytes: int
    eager_because: str
    """Reason why the latest frame was not replayed as one graph; empty if it was."""
    map_points: int
    device: str
    is_calibrated: bool
    is_rectified: bool
    inference_s: float
    """Duration of the last forward pass, s."""
