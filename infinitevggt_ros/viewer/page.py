# SPDX-License-Identifier: Apache-2.0
"""The page, by viser: a scene on the left, figures and controls on the right."""

from collections.abc import Callable
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from viser import uplot

from infinitevggt_ros.viewer.arrays import UNKNOWN_VIEW

SLIDER_ENDS = {
    "memory.total_budget": (1_200_000, 1_000),
    "memory.window": (64, 1),
    "memory.anchor_frames": (32, 1),
}
"""Highest value and step of a slider: the node takes far more. A value beyond moves the end."""
CHOICES = "one of: "
FRUSTUM_SHARE, POINT_SHARE = 0.04, 0.004
"""Sizes of the camera and of a point in the map's extent."""
BLUE, ORANGE, GREY = "#4c9be8", "#f29e4c", "#8a929e"
PLOTS = {
    "tokens (thousand)": {"kilotokens": BLUE, "kilotokens_budget": GREY},
    "memory (MB)": {"memory_mb": BLUE},
    "time (ms)": {"latency_ms": ORANGE, "inference_ms": BLUE},
}


EVERY_ADDRESS = "", "0.0.0.0", "::"


class Page:
    """What browsers see. Sent to all of them, and to those that come later."""

    def __init__(self, host: str, port: int) -> None:
        """port: or the next that is free."""
        self.on_wish: Callable[[str, Any], None] = lambda name, value: None
        """Called from another thread with a parameter and what somebody wants it to be."""
        self._host = host
        self._server = viser.ViserServer(host, port, label="InfiniteVGGT", verbose=False)
        self._server.gui.configure_theme(dark_mode=True, show_logo=False)
        self._state_lines: list[str] = []
        self._state = self._server.gui.add_markdown("")
        self._depth: Any = None
        self._controls: dict[str, Any] = {}
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
        """For a browser on this machine."""
        host = "localhost" if self.is_open else self._host
        return f"http://{host}:{self._server.get_port()}"

    @property
    def is_open(self) -> bool:
        """Whether it listens on every address of the machine."""
        return self._host in EVERY_ADDRESS

    def close(self) -> None:
        self._server.stop()

    def show_camera(self, position: NDArray[np.float64], wxyz: NDArray[np.float64]) -> None:
        """The optical frame in the map."""
        with self._server.atomic():
            self._camera.position, self._camera.wxyz = position, wxyz
            self._camera.visible = True

    def show_view_angle(self, fov: float, aspect: float) -> None:
        """fov: vertical, radians; aspect: width over height."""
        self._camera.fov, self._camera.aspect = fov, aspect

    def show_path(self, segments: NDArray[np.float32]) -> None:
        """segments (N, 2, 3)."""
        self._server.scene.add_line_segments(
            "/path", segments, (255, 92, 57), thickness=2.0, thickness_units="screen"
        )

    def show_map(self, points: NDArray[np.float32], colors: NDArray[np.uint8]) -> None:
        """points, colors (N, 3)."""
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
        """picture (H, W, 3) RGB."""
        if self._depth is None:
            with self._depth_folder:
                self._depth = self._server.gui.add_image(picture, format="jpeg")
        else:
            self._depth.image = picture

    def show_curves(self, columns: dict[str, NDArray[np.float64]]) -> None:
        """columns: by the names in Curves.COLUMNS."""
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
        if lines != self._state_lines:
            self._state_lines = lines
            self._state.content = "  \n".join(lines)

    def show_parameter(self, name: str, value: Any, descriptor: ParameterDescriptor) -> None:
        """A control with the parameter's present value."""
        if name not in self._controls:
            with self._memory_folder:
                self._controls[name] = self._add_control(name, value, descriptor)
            return
        control = self._controls[name]
        if name in SLIDER_ENDS:
            control.min, control.max = min(control.min, value), max(control.max, value)
        control.value = value

    def show_refusal(self, text: str) -> None:
        """Why a parameter was not set; until one is wished for again."""
        self._refusal.content = f"**refused:** {text}"
        self._refusal.visible = True

    def _set_scene(self) -> None:
        scene = self._server.scene
        scene.set_up_direction("+z")
        # over the shoulder of the first camera, which is at the origin and looks along x
        self._server.initial_camera.position = (-1.2, 0.0, 0.9)
        self._server.initial_camera.look_at = (1.0, 0.0, 0.0)
        scene.set_background_image(np.full((1, 1, 3), (16, 20, 27), np.uint8))
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

    def _add_control(self, name: str, value: Any, descriptor: ParameterDescriptor) -> Any:
        label, gui = name.removeprefix("memory."), self._server.gui
        hint = descriptor.description
        control: Any
        if name in SLIDER_ENDS:
            (limits,), (end, step) = descriptor.integer_range, SLIDER_ENDS[name]
            low = min(step if step > 1 else limits.from_value, value)  # round numbers
            control = gui.add_slider(label, low, max(end, value), step, value, hint=hint)
        else:
            choices = descriptor.additional_constraints.removeprefix(CHOICES).split(", ")
            control = gui.add_dropdown(label, choices, initial_value=value, hint=hint)

        @control.on_update
        def _(event: Any) -> None:
            if event.client is not None:  # else it is the node's own value that is shown
                self._refusal.visible = False
                self.on_wish(name, event.target.value)

        return control

    @staticmethod
    def _scales(seconds: NDArray[np.float64]) -> dict[str, uplot.Scale]:
        """Said outright: left to the browser, the axis may stay where it was before the data."""
        return {"x": uplot.Scale(time=False, range=(float(seconds[0]), float(seconds[-1]) + 1e-3))}

    @staticmethod
    def _extent(points: NDArray[np.float32]) -> float:
        """Diagonal of the box that holds most of the points."""
        if not len(points):
            return 1.0
        low, high = np.percentile(points, (2, 98), axis=0)
        return max(float(np.linalg.norm(high - low)), 1e-3)
