# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt run --viewer` in a headless Chromium."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.browser import drawn_pixels, free_port
from support.world_images import endless_photos


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, "ended early"
        time.sleep(0.2)


def test_the_page_shows_the_run_and_sets_its_memory(
    page: Any, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    out, port = tmp_path / "run", free_port()
    photos = endless_photos(tmp_path / "photos")
    process = start("run", photos, "--viewer", "--port", port, "--out", out)
    assert process.stdout is not None
    while f"http://127.0.0.1:{port}" not in (line := process.stdout.readline()):
        assert line, "the address is not said"
    page.goto(f"http://127.0.0.1:{port}")
    page.get_by_text(re.compile(r"\d+ images used, [1-9]\d* keyframes, \d+ loops")).wait_for()
    page.wait_for_function("document.querySelectorAll('.uplot canvas').length == 3")  # the curves
    page.wait_for_function("[...document.images].some(i => i.naturalWidth > 100)")  # the depth
    wait_until(lambda: drawn_pixels(page) > 1000, process)  # the map

    slider = page.get_by_role("slider").first
    assert slider.get_attribute("aria-valuenow") == "600000"
    slider.press("ArrowLeft")
    page.wait_for_function(
        "document.querySelector('[role=slider]').getAttribute('aria-valuenow') == '599000'"
    )
    used = images_used(page)
    wait_until(lambda: images_used(page) > used + 2, process)  # the stream took it over
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=280)
    assert process.returncode == 130
    assert json.loads((out / "run.json").read_text())["memory"]["total_budget"] == 599_000


def images_used(page: Any) -> int:
    text = page.get_by_text(re.compile(r"\d+ images used")).first.inner_text()
    return int(re.search(r"(\d+) images used", text).group(1))
