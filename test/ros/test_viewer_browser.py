# SPDX-License-Identifier: Apache-2.0
"""The viewer in a headless Chromium: node, viewer and browser are processes of their own."""

import io
import shutil
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rcl_interfaces.srv import GetParameters

from support.camera import STATUS, Spawn, film
from support.listening import Listener
from support.node_process import NODE, call, started

TIMEOUT_MS = 90_000
"""Without a GPU the browser draws on the processor, which it shares with the network."""
BACKGROUND = np.array((16, 20, 27))
FLAGS = (
    *("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
)
FRAMES = 4


@pytest.fixture
def page() -> Iterator[Any]:
    pytest.importorskip("viser", reason="an extra: make extras")
    playwright = pytest.importorskip("playwright.sync_api", reason="an extra: make extras")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's package chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1000, "height": 1400})
        page.set_default_timeout(TIMEOUT_MS)
        yield page
        browser.close()


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
    listener.spin_until(lambda: drawn_pixels(page) > 1000, 60)  # the map

    page.get_by_role("slider").first.press("ArrowLeft")
    listener.spin_until(lambda: budget(listener) == 599_000, 60)
    assert camera.send_film(film(1, 240, 320), start_ns=10**10).total_budget == 599_000


def show(page: Any, listener: Listener, spawn: Spawn) -> None:
    """Start a viewer and look at it, once it hears the node."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn("infinitevggt", "viewer", "--host", "127.0.0.1", "--port", str(port), "--node", NODE)
    listener.spin_until(lambda: listener.node.count_subscribers(STATUS) == 2, 60)
    page.goto(f"http://127.0.0.1:{port}")


def drawn_pixels(page: Any) -> int:
    """Count the pixels of the scene that are neither background nor the grey of lines."""
    picture = page.screenshot(clip={"x": 0, "y": 250, "width": 600, "height": 1000})
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    far = abs(pixels - BACKGROUND).sum(axis=-1) > 60
    return int((far & (np.ptp(pixels, axis=-1) > 20)).sum())


def budget(listener: Listener) -> int:
    request = GetParameters.Request(names=["memory.total_budget"])
    return int(call(listener, GetParameters, "get_parameters", request).values[0].integer_value)
