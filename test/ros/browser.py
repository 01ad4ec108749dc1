"""A headless Chromium for tests: what a page says, and keys pressed on it (DevTools protocol)."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

NAMES = "chromium", "chromium-browser", "google-chrome"
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--window-size=1200,2000",
    "--remote-debugging-port=0",
)


def installed() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab."""

    def __init__(self, url: str, profile: Path) -> None:
        from websockets.sync.client import connect

        command = [str(installed()), *ARGUMENTS, f"--user-data-dir={profile}", url]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port_file = profile / "DevToolsActivePort"
        self.wait_for(lambda: port_file.exists() and bool(port_file.read_text()))
        pages = f"http://127.0.0.1:{port_file.read_text().split()[0]}/json"

        def tabs() -> list[dict[str, str]]:
            with urllib.request.urlopen(pages) as answer:
                found = json.load(answer)
            return [tab for tab in found if tab["type"] == "page" and tab["url"].startswith(url)]

        self.wait_for(lambda: bool(tabs()))
        self._socket = connect(tabs()[0]["webSocketDebuggerUrl"], max_size=None)
        self._numbers = count(1)

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, "timed out"
            time.sleep(0.1)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self._ask("Runtime.evaluate", expression=expression)["result"].get("value")

    @property
    def text(self) -> str:
        """What there is to be read."""
        return str(self.evaluate("document.body.innerText"))

    def press(self, key: str, code: int) -> None:
        """A key, for what has the focus. code: of the virtual key, as Windows counts."""
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        for kind in ("rawKeyDown", "keyUp"):
            self._ask("Input.dispatchKeyEvent", type=kind, **keys)

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(60))).get("id") != number:
            pass  # an event
        assert "error" not in answer, answer
        return dict(answer["result"])
