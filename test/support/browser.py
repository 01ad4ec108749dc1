# SPDX-License-Identifier: Apache-2.0
"""A page in a headless Chromium."""

import io
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

TIMEOUT_MS = 90_000
"""Without a GPU the browser draws on the processor, which it shares with the network."""
BACKGROUND = np.array((16, 20, 27))
FLAGS = (
    *("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
)


@contextmanager
def browser_page() -> Iterator[Any]:
    """Yield a page of playwright; skip the test where an extra or Chromium is missing."""
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


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def drawn_pixels(page: Any) -> int:
    """Count the pixels of the scene that are neither background nor the grey of lines."""
    picture = page.screenshot(clip={"x": 0, "y": 250, "width": 600, "height": 1000})
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    far = abs(pixels - BACKGROUND).sum(axis=-1) > 60
    return int((far & (np.ptp(pixels, axis=-1) > 20)).sum())
