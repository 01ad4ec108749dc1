# SPDX-License-Identifier: Apache-2.0
"""Tracking of plain images: camera poses by optical flow and bundle adjustment, and a map."""

from infinitevggt_core.tracking.config import TrackingConfig
from infinitevggt_core.tracking.depth_corrector import DepthCorrector
from infinitevggt_core.tracking.keyframe import Keyframe
from infinitevggt_core.tracking.listeners import KeyframeListeners
from infinitevggt_core.tracking.mapper import MappedFrame, Mapper
from infinitevggt_core.tracking.tracked_frame import TrackedFrame, TrackedPose
from infinitevggt_core.tracking.tracked_stream import (
    CameraView,
    LocatedPose,
    LocatedView,
    TrackedStream,
)
from infinitevggt_core.tracking.tracker import KeyframeListener, Tracker

__all__ = [
    "CameraView",
    "DepthCorrector",
    "Keyframe",
    "KeyframeListener",
    "KeyframeListeners",
    "LocatedPose",
    "LocatedView",
    "MappedFrame",
    "Mapper",
    "TrackedFrame",
    "TrackedPose",
    "TrackedStream",
    "Tracker",
    "TrackingConfig",
]
