# SPDX-License-Identifier: Apache-2.0
"""Controls of the page that set the memory of a stream of this process."""

from collections.abc import Callable
from dataclasses import fields, replace
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from infinitevggt_core import StreamSession
from infinitevggt_ros.viewer.controls import Control
from infinitevggt_ros.viewer.options import MEMORY_PARAMETERS

PREFIX = "memory."


class Shown(Protocol):
    """Page with controls, as viewer.page.Page."""

    on_request: Callable[[str, Any], None]

    def show_parameter(self, name: str, value: Any, control: Control) -> None: ...
    def show_refusal(self, text: str) -> None: ...


class MemoryControls:
    """Takes requests of the page from its thread and applies them between two images."""

    def __init__(self, page: Shown, session: StreamSession) -> None:
        self._page, self._session = page, session
        self._requests: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        page.on_request = lambda name, value: self._requests.put((name, value))
        self._show()

    def apply(self) -> None:
        """Apply the requests since the last call; say on the page why one is refused."""
        is_changed = False
        while (request := self._next()) is not None:
            name, value = request
            is_changed = True
            try:
                memory = replace(self._session.memory, **{name.removeprefix(PREFIX): value})
                self._session.configure(memory)
            except ValueError as error:
                self._page.show_refusal(f"{name}: {error}")
        if is_changed:
            self._show()

    def _next(self) -> tuple[str, Any] | None:
        try:
            return self._requests.get_nowait()
        except Empty:
            return None

    def _show(self) -> None:
        """Show the settings as they are."""
        memory = self._session.memory
        for field in fields(memory):
            if (name := PREFIX + field.name) not in MEMORY_PARAMETERS:
                continue
            about = field.metadata
            choices = tuple(about["choices"])
            control = Control(str(about["text"]), choices, int(about["low"] or 0))
            self._page.show_parameter(name, getattr(memory, field.name), control)
