# SPDX-License-Identifier: Apache-2.0
"""The page, made with viser: a scene on the left, figures and controls on the right."""

from collections.abc import Callable
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray
from viser import uplot

from infinitevggt_ros.viewer.controls import Control
from infinitevggt_ros.viewer.pictures import BACKGROUND, UNKNOWN_VIEW

SLIDER_ENDS = {
    "memory.total_budget": (1_200_000, 1_000),
    "memory.window": (64, 1),
    "memory.anchor_frames": (32, 1),
}
"""Highest value and step of a slider. A higher value of the node extends the slider."""
FRUSTUM_SHARE, POINT_SHARE = 0.04, 0.004
"""Sizes of the camera and of a point, relative to the extent of the map."""
BLUE, ORANGE, GREY = "#4c9be8", "#f29e4c", "#8a929e"
PLOTS = {
    "tokens (thousand)": {"kilotokens": BLUE, "kilotokens_budget": GREY},
    "memory (MB)": {"memory_mb": BLUE},
    "time (ms)": {"latency_ms": ORANGE, "inference_ms": BLUE},
}


EVERY_ADDRESS = "", "0.0.0.0", "::"


class Page:
    """Page that all connected browsers show, also those that connect later."""

    def __init__(self, host: str, port: int) -> None:
        """port: the next free one is used if it is taken."""
        self.on_request: Callable[[str, Any], None] = lambda name, value: None
        """Called from another thread with the name of a parameter and the requested value."""
        self._host = host
        self._server = viser.ViserServer(host, port, label="InfiniteVGGT", verbose=False)
        self._server.gui.configure_theme(dark_mode=True, show_logo=False)
        self._state_lines: list[str] = []
        self._state = self._server.gui.add_markdown("")
        self._depth: Any = None
        self.controls: dict[str, Any] = {}
        """Control of each parameter, by name."""
        with self._server.gui.add_folder("depth") as self._depth_folder:
            pass
        with self._server.gui.add_folder("memory") as self._memory_folder:
            self._refusal = self._server.gui.add_markdown("", visible=False)
        with self._server.gui.add_folder("curves") as self._curves_folder:
            pass
        self._plots: dict[str, Any] = {}
        self._set_scene()

    @property
    def url(self) -> str:
        """Address for a browser on this machine."""
        host = "localhost" if self.is_open else self._host
        return f"http://{host}:{self._server.get_port()}"

    @property
    def is_open(self) -> bool:
        """True if the page listens on every address of the machine."""
        return self._host in EVERY_ADDRESS

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()

    def show_camera(self, position: NDArray[np.float64], wxyz: NDArray[np.float64]) -> None:
        """Show the optical frame. position (3,) in the map, wxyz (4,)."""
        with self._server.atomic():
            self._camera.position, self._camera.wxyz = position, wxyz
            self._camera.visible = True

    def show_view_angle(self, fov: float, aspect: float) -> None:
        """Set the view of the camera. fov: vertical, rad; aspect: width over height."""
        self._camera.fov, self._camera.aspect = fov, aspect

    def show_path(self, segments: NDArray[np.float32]) -> None:
        """Show the trajectory. segments: both ends of each, (N, 2, 3)."""
        self._server.scene.add_line_segments(
            "/path", segments, (255, 92, 57), thickness=2.0, thickness_units="screen"
        )

    def show_graph(self, keyframes: NDArray[np.float32], loops: NDArray[np.float32]) -> None:
        """Show keyframes and loop closures. Both: ends of lines, (N, 2, 3)."""
        lines = {"/keyframes": (keyframes, (255, 214, 102)), "/loops": (loops, (64, 192, 87))}
        for name, (segments, color) in lines.items():
            if len(segments):
                self._server.scene.add_line_segments(
                    name, segments, color, thickness=1.5, thickness_units="screen"
                )
            else:
                self._server.scene.remove_by_name(name)

    def show_map(self, points: NDArray[np.float32], colors: NDArray[np.uint8]) -> None:
        """Show the map. points, colors: (N, 3)."""
        extent = self._extent(points)
        self._camera.scale = FRUSTUM_SHARE * extent
        self._server.scene.add_point_cloud(
            "/map",
            points,
            colors,
            point_size=POINT_SHARE * extent,
            precision="float32",  # half precision shows as layers a few metres away
            point_shading="flat",
        )

    def show_depth(self, picture: NDArray[np.uint8]) -> None:
        """Show a picture (H, W, 3), RGB."""
        if self._depth is None:
            with self._depth_folder:
                self._depth = self._server.gui.add_image(picture, format="jpeg")
        else:
            self._depth.image = picture

    def show_curves(self, columns: dict[str, NDArray[np.float64]]) -> None:
        """Show the curves. columns: by the names in Curves.COLUMNS."""
        for title, curves in PLOTS.items():
            data = (columns["seconds"], *(columns[name] for name in curves))
            if title in self._plots:
                plot = self._plots[title]
                with self._server.atomic():
                    plot.data, plot.scales = data, self._scales(data[0])
            else:
                with self._curves_folder:
                    self._plots[title] = self._add_plot(title, data)

    def show_state(self, lines: list[str]) -> None:
        """Show lines of text."""
        if lines != self._state_lines:
            self._state_lines = lines
            self._state.content = "  \n".join(lines)

    def show_parameter(self, name: str, value: Any, control: Control) -> None:
        """Show a control with the present value of a parameter."""
        if name not in self.controls:
            with self._memory_folder:
                self.controls[name] = self._add_control(name, value, control)
            return
        shown = self.controls[name]
        if name in SLIDER_ENDS:
            shown.min, shown.max = min(shown.min, value), max(shown.max, value)
        shown.value = value

    def show_refusal(self, text: str) -> None:
        """Show why a parameter was not set, until the next request."""
        self._refusal.content = f"**refused:** {text}"
        self._refusal.visible = True

    def _set_scene(self) -> None:
        scene = self._server.scene
        scene.set_up_direction("+z")
        # behind and above the first camera, which is at the origin and looks along x
        self._server.initial_camera.position = (-1.2, 0.0, 0.9)
        self._server.initial_camera.look_at = (1.0, 0.0, 0.0)
        scene.set_background_image(np.full((1, 1, 3), BACKGROUND, np.uint8))
        fov, aspect = UNKNOWN_VIEW
        self._camera = scene.add_camera_frustum(
            "/camera",
            fov,
            aspect,
            scale=0.1,
            thickness=2.0,
            thickness_units="screen",
            color=(255, 255, 255),
            visible=False,
        )

    def _add_plot(self, title: str, data: tuple[NDArray[np.float64], ...]) -> Any:
        label = {"stroke": GREY, "grid": {"stroke": "#333a45", "width": 1}}
        series = [
            uplot.Series(label=name.replace("_", " "), stroke=color, width=2)
            for name, color in PLOTS[title].items()
        ]
        return self._server.gui.add_uplot(
            data,
            (uplot.Series(label="seconds"), *series),
            title=title,
            scales=self._scales(data[0]),
            axes=(uplot.Axis(**label), uplot.Axis(**label)),
            aspect=1.8,
        )

    def _add_control(self, name: str, value: Any, control: Control) -> Any:
        label, gui = name.removeprefix("memory."), self._server.gui
        shown: Any
        if name in SLIDER_ENDS:
            end, step = SLIDER_ENDS[name]
            low = min(step if step > 1 else control.lowest, value)  # round numbers
            shown = gui.add_slider(label, low, max(end, value), step, value, hint=control.hint)
        else:
            shown = gui.add_dropdown(label, control.choices, initial_value=value, hint=control.hint)

        @shown.on_update
        def _(event: Any) -> None:
            if event.client is not None:  # else the node's own value is shown
                self._refusal.visible = False
                self.on_request(name, event.target.value)

        return shown

    @staticmethod
    def _scales(seconds: NDArray[np.float64]) -> dict[str, uplot.Scale]:
        """Return explicit limits: browsers may keep the limits from before the first data."""
        return {"x": uplot.Scale(time=False, range=(float(seconds[0]), float(seconds[-1]) + 1e-3))}

    @staticmethod
    def _extent(points: NDArray[np.float32]) -> float:
        """Return the diagonal of the box that holds most of the points."""
        if not len(points):
            return 1.0
        low, high = np.percentile(points, (2, 98), axis=0)
        return max(float(np.linalg.norm(high - low)), 1e-3)
