# SPDX-License-Identifier: Apache-2.0
"""Serve a web page that shows a running node: camera, trajectory, map, depth, memory and time, with
sliders for its memory.

The page listens on this machine only. With --host 0.0.0.0 it is open to other machines; there is
no password, and whoever reaches the port can move the sliders.
"""

import argparse
from importlib import import_module
from typing import Any

from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.viewer.options import ViewerOptions

EXAMPLE = "infinitevggt viewer --node /robot/infinitevggt --port 8090"


def configure(parser: argparse.ArgumentParser) -> None:
    view = ViewerOptions()
    add = parser.add_argument
    add("--node", default=view.node, help="name of the node, with its namespace")
    add("--camera", default=view.camera, help="camera of a rig to show")
    add("--host", default=view.host, help="address to listen on")
    add("--port", type=int, default=view.port, help="port; the next free one if it is taken")
    add("--map-points", type=int, default=view.map_points, help="most points of the map shown")
    add("--map-period", type=float, default=view.map_period_s, help="seconds between two maps")
    add("--period", type=float, default=view.period_s, help="seconds between other updates")
    add("--history", type=int, default=view.history, help="frames in the curves")


def run(options: argparse.Namespace) -> int:
    view = _viewer_options(options)
    page = open_page(view)
    try:
        _spin(page, view)
    finally:
        page.close()
    return 0


def open_page(view: ViewerOptions) -> Any:
    """Serve the page and print its address. Raises CommandError if viser is not installed."""
    try:
        page_type = import_module("infinitevggt_ros.viewer.page").Page
    except ModuleNotFoundError as error:
        if error.name != "viser":
            raise
        raise CommandError("the viewer needs viser: pip install viser") from error
    page = page_type(view.host, view.port)
    reach = ", and on every other address of this machine" if page.is_open else ""
    print(f"viewer of {view.node}: {page.url}{reach}", flush=True)
    return page


def _spin(page: Any, view: ViewerOptions) -> None:
    """Show the node until a signal."""
    import rclpy
    from rclpy.executors import ExternalShutdownException

    from infinitevggt_ros.viewer.viewer import Viewer

    rclpy.init(args=[])
    try:
        node = rclpy.create_node("infinitevggt_viewer")
        Viewer(node, page, view)
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


def _viewer_options(options: argparse.Namespace) -> ViewerOptions:
    for name in ("map_points", "map_period", "period", "history"):
        if not getattr(options, name) > 0:
            raise CommandError(f"--{name.replace('_', '-')} must be above 0")
    if not 0 < options.port < 65536:
        raise CommandError(f"--port {options.port} must be from 1 to 65535")
    return ViewerOptions(
        node="/" + options.node.strip("/"),
        camera=options.camera,
        host=options.host,
        port=options.port,
        map_points=options.map_points,
        map_period_s=options.map_period,
        period_s=options.period,
        history=options.history,
    )
