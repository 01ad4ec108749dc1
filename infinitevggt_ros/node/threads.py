# SPDX-License-Identifier: Apache-2.0
"""Slow work beside the executor."""

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

from rclpy.task import Future

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> "Future[T]":
    """Start work in a thread and return the future of its result or exception."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    # a daemon, because a hanging file system must not keep the process from leaving
    Thread(target=run, daemon=True).start()
    return future
