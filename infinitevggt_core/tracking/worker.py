# SPDX-License-Identifier: Apache-2.0
"""One job at a time, in a thread of its own or at once."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Runs one job and holds its result; refuses a second one meanwhile."""

    def __init__(self, background: bool) -> None:
        """background: run jobs in a thread; else at once, which makes everything repeatable."""
        self._pool = ThreadPoolExecutor(1, "bundle-adjustment") if background else None
        self._job: Future[T] | None = None

    @property
    def busy(self) -> bool:
        """True while a job runs or its result waits to be taken."""
        return self._job is not None

    def submit(self, job: Callable[[], T]) -> bool:
        """Start a job; False where one is on its way already or the worker is closed."""
        if self._job is not None:
            return False
        if self._pool is None:
            done: Future[T] = Future()
            try:
                done.set_result(job())
            except Exception as error:
                done.set_exception(error)
            self._job = done
            return True
        try:
            self._job = self._pool.submit(job)
        except RuntimeError:  # closed
            return False
        return True

    def take(self, *, wait: bool = False) -> T | None:
        """Return the result of the job, None while there is none. Raises what the job raised.

        wait: block until the job is done.
        """
        if self._job is None or not (wait or self._job.done()):
            return None
        job, self._job = self._job, None
        return job.result()

    def discard(self) -> None:
        """Forget the job: its result will not be taken."""
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def close(self) -> None:
        """Stop the thread after the job that runs."""
        self.discard()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
