# SPDX-License-Identifier: Apache-2.0
"""Web page of a run: what the stream knows now, and its memory's settings."""

from typing import Any

from infinitevggt_ros.live.stream import LiveFrame, LiveStream
from infinitevggt_ros.viewer.local import LocalViewer
from infinitevggt_ros.viewer.memory_controls import MemoryControls
from infinitevggt_ros.viewer.options import ViewerOptions

FINISHED = "finished"


class LiveView:
    """Shows a stream on the page, and applies what is set there between two images."""

    def __init__(self, page: Any, options: ViewerOptions) -> None:
        self._page, self._options = page, options
        self._viewer = LocalViewer(page, options)
        self._controls: MemoryControls | None = None

    def show(self, live: LiveFrame, stream: LiveStream, used: int) -> None:
        """Show the stream after an image. used: number of images so far."""
        session = stream.session
        if self._controls is None:
            self._controls = MemoryControls(self._page, session)
        self._controls.apply()
        is_due = self._viewer.show_frame(
            live.camera_from_map,
            live.depth,
            live.depth_matrix,
            memory_bytes=session.memory_bytes,
            tokens=sum(session.stored_tokens),
            budget=session.budget,
            latency_ms=live.latency_ms,
            inference_ms=live.inference_ms,
        )
        if is_due:
            self._show_all(stream, used, live.state)

    def finish(self, stream: LiveStream, used: int) -> None:
        """Show the final trajectory, keyframes, loops and map."""
        stream.finish()
        self._show_all(stream, used, FINISHED)

    def _show_all(self, stream: LiveStream, used: int, state: str) -> None:
        loops = [edge.key for edge in stream.mapper.loop_edges() if edge.accepted]
        keyframes = stream.mapper.keyframe_poses()
        line = f"{used} images used, {len(keyframes)} keyframes, {len(loops)} loops, {state}"
        self._viewer.show_trajectory(stream.trajectory()[1], [line])
        self._viewer.show_graph(keyframes, loops)
        if state == FINISHED or self._viewer.wants_map():
            cloud = stream.map.cloud(self._options.map_points)
            self._viewer.show_map(cloud.positions.numpy(), cloud.colors.numpy())
