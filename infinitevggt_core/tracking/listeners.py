# SPDX-License-Identifier: Apache-2.0
"""Several receivers of keyframes as one."""

from infinitevggt_core.tracking.keyframe import Keyframe
from infinitevggt_core.tracking.rigid import Floats
from infinitevggt_core.tracking.tracker import KeyframeListener


class KeyframeListeners:
    """Passes what a tracker tells on to each listener, in their order."""

    def __init__(self, *listeners: KeyframeListener) -> None:
        self._listeners = listeners

    def on_new_keyframe(self, keyframe: Keyframe) -> None:
        for listener in self._listeners:
            listener.on_new_keyframe(keyframe)

    def on_keyframe_left_window(self, keyframe: Keyframe) -> None:
        for listener in self._listeners:
            listener.on_keyframe_left_window(keyframe)

    def on_window(self, poses: dict[int, Floats]) -> None:
        for listener in self._listeners:
            listener.on_window(poses)
