# SPDX-License-Identifier: Apache-2.0
"""The viewer in a headless Chromium: node, viewer and browser are processes of their own."""

from typing import Any

import pytest
from rcl_interfaces.srv import GetParameters

from support.browser import drawn_pixels, free_port
from support.camera import STATUS, Spawn, film
from support.listening import Listener
from support.node_process import NODE, call, started

FRAMES = 4


@pytest.mark.ros
def test_the_page_in_a_browser(page: Any, listener: Listener, spawn: Spawn) -> None:
    camera = started(listener, spawn, "stream_node", "--ros-args", "-p", "output.map_period:=0.05")
    show(page, listener, spawn)
    page.get_by_text(f"waiting for {NODE}").wait_for()
    assert drawn_pixels(page) < 100
    camera.send_film(film(FRAMES, 240, 320))

    page.get_by_text(f"{FRAMES} images used, 0 dropped, 0 refused").wait_for()
    page.wait_for_function("document.querySelectorAll('.uplot canvas').length == 3")  # the curves
    page.wait_for_function("[...document.images].some(i => i.naturalWidth > 100)")  # the depth
    listener.spin_until(lambda: drawn_pixels(page) > 1000)  # the map

    page.get_by_role("slider").first.press("ArrowLeft")
    listener.spin_until(lambda: budget(listener) == 599_000)
    assert camera.send_film(film(1, 240, 320), start_ns=10**10).total_budget == 599_000


def show(page: Any, listener: Listener, spawn: Spawn) -> None:
    """Start a viewer and look at it, once it hears the node."""
    port = free_port()
    spawn("infinitevggt", "viewer", "--host", "127.0.0.1", "--port", str(port), "--node", NODE)
    listener.spin_until(lambda: listener.node.count_subscribers(STATUS) == 2)
    page.goto(f"http://127.0.0.1:{port}")


def budget(listener: Listener) -> int:
    request = GetParameters.Request(names=["memory.total_budget"])
    return int(call(listener, GetParameters, "get_parameters", request).values[0].integer_value)
