# SPDX-License-Identifier: Apache-2.0
"""The inference thread: loads the streams, takes the newest images, answers requests in between."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Protocol

from rclpy.task import Future

from infinitevggt_ros.errors import Warn
from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.input.mailbox import Mailbox, Received
from infinitevggt_ros.input.network_image import ImageMessage
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.status import StatusPublisher
from infinitevggt_ros.node.status_message import WorkerSnapshot
from infinitevggt_ros.output.camera_publishers import Timing
from infinitevggt_ros.output.frame_result import FramePose, FrameResult
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.batch import Batch, BegunImage, begin_batch
from infinitevggt_ros.stream.stream import Stream

IDLE_S = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a request."""

    success: bool
    message: str


NO_STREAM = Answer(False, "there is no stream: configure the node first")
Action = Callable[[Stream], str]
"""Request to one stream: returns a message on its success. OSError, ValueError and RuntimeError
refuse it."""


class ResultPublisher(Protocol):
    """Publishes the results of one stream."""

    def publish_pose(self, stream: Stream, pose: FramePose) -> None: ...

    def publish(self, stream: Stream, result: FrameResult) -> None: ...

    def publish_periodic(self, stream: Stream) -> None: ...

    def timings(self, camera: str) -> dict[str, Timing]: ...


class StreamWorker:
    """Computes images in a thread of its own, and answers requests between two frames.

    One bad frame does not end the thread. `revive` starts it again if it died nevertheless.
    """

    def __init__(
        self,
        load: Callable[[], Sequence[Stream]],
        publishers: Mapping[str, ResultPublisher],
        status: StatusPublisher,
        warn: Warn,
        lifecycle_state: Callable[[], str] = lambda: "",
    ) -> None:
        """Prepare a worker without streams.

        Args:
            load: Returns the streams; called in the worker's thread.
            publishers: Publishers by the name of their stream.
            status: Publishes the outcome of each image.
            warn: Called with warnings.
            lifecycle_state: Returns the state of the node.
        """
        self._mailbox = Mailbox()
        self._taken: deque[Received] = deque()
        self._begun: list[BegunImage] = []  # in the network, not yet in the world
        self.streams: Sequence[Stream] = ()
        """Empty before they are loaded. Other threads only read them."""
        self.load_error: Exception | None = None
        self.refused = ""
        """Reason why the last settings could not be used; empty once the node has restored them."""
        self.is_active = False
        """True if the life cycle lets images be used."""
        self.is_paused = False
        """True if a service call stopped the use of images."""
        self.restarts = 0
        """Number of times the thread had died and was started again."""
        self._load = load
        self._publishers = publishers
        self._status = status
        self._warn = warn
        self._lifecycle_state = lifecycle_state
        self._lock = Lock()
        self._starting = Lock()  # the life cycle and the executor's `revive` are different threads
        self._requests: deque[tuple[Action, Future[Answer]]] = deque()
        self._wanted: Settings | None = None
        self._stopping, self._has_loaded = Event(), Event()
        self._thread: Thread | None = None

    @property
    def stream(self) -> Stream | None:
        """The first stream, for what all have in common; None before they are loaded."""
        return self.streams[0] if self.streams else None

    def stream_of(self, camera: str) -> Stream | None:
        """Return the stream of a camera; None before it is loaded."""
        return next((stream for stream in self.streams if camera in stream.trajectories), None)

    def start(self) -> None:
        """Load the streams and serve them, in a thread."""
        with self._starting:
            self.load_error = None
            self._stopping.clear()
            self._has_loaded.clear()
            self._start_thread()

    def wait_for_streams(self) -> None:
        """Wait until the streams are loaded. Raises RuntimeError with the reason if they cannot."""
        self._has_loaded.wait()
        if self.load_error is not None:
            raise RuntimeError(str(self.load_error)) from self.load_error

    def stop(self, timeout_s: float | None = None) -> bool:
        """End the thread after the current frame and release the streams.

        Returns False if it did not end in time; then publishers must not be destroyed.
        timeout_s: None waits without a limit.
        """
        with self._starting:
            self._stopping.set()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                return False
        self._mailbox.take(0)
        self._taken.clear()
        with self._lock:
            self._thread, self.streams = None, ()
            requests, self._requests = self._requests, deque()
        for _, answer in requests:
            answer.set_result(NO_STREAM)
        return True

    def revive(self) -> bool:
        """Start the thread again if it has died; return True if it had."""
        with self._starting:
            thread = self._thread
            if thread is None or thread.is_alive():
                return False
            if self._stopping.is_set() or self.load_error is not None:
                return False
            if self.streams:
                self.submit(lambda stream: _reset_corrupted(stream, "the inference thread died"))
            self.restarts += 1
            self._start_thread()
            return True

    def configure(self, settings: Settings) -> None:
        """Use these settings from the next frame on."""
        with self._lock:
            self._wanted = settings

    def submit(self, action: Action) -> "Future[Answer]":
        """Apply an action to each stream between two frames."""
        answer: Future[Answer] = Future()
        with self._lock:
            if self._thread is None and not self.streams:
                answer.set_result(NO_STREAM)
            else:
                self._requests.append((action, answer))
        return answer

    def ask(self, action: Action) -> Answer:
        """Apply an action as `submit` does and wait for the answer. Not for the executor."""
        answered, answer = Event(), self.submit(action)
        answer.add_done_callback(lambda _: answered.set())
        answered.wait()
        result = answer.result()
        assert result is not None
        return result

    def receive(self, message: ImageMessage, camera: Camera) -> None:
        """Take an image from the executor. Never blocks."""
        received = Received(message, time.monotonic(), camera)
        if self.is_paused or not self.is_active:
            camera.received += 1
            self._drop(received)
        elif (replaced := self._mailbox.put(received)) is not None:
            self._publish_status(replaced, StreamStatus.DROPPED)

    def publish_idle_status(self, camera: Camera) -> None:
        """Publish a status without an image."""
        self._status.publish_idle(camera, self._snapshot())

    def step(self, timeout_s: float = 0.0) -> bool:
        """Answer the requests and compute the next images; return True if there were images.

        Where the network computes beside the host and more images wait, the results of these ones
        follow in the next step, after it has begun the next images. timeout_s: longest wait for
        images.
        """
        batch = self._next(timeout_s)
        if self._needs_whole_streams:
            self._finish()
        with self._guarded():
            self._serve_requests()
        self._process(batch)
        for stream in self.streams:
            with self._guarded():
                self._publishers[stream.name].publish_periodic(stream)
                stream.save_periodic()
        return bool(batch)

    def _start_thread(self) -> None:
        # a daemon, because a hanging file system must not keep the process from leaving
        self._thread = Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if not self.streams:
            try:
                self.streams = self._load()
            except Exception as error:
                self.load_error = error
                return
            finally:
                self._has_loaded.set()
        while not self._stopping.is_set():
            self.step(IDLE_S)
        self._finish()
        for end in (Stream.begin_saving, Stream.close):  # all begin before one is waited for
            for stream in self.streams:
                try:
                    end(stream)
                except Exception as error:  # the others are to be saved all the same
                    self._warn("state", f"the stream is lost: {type(error).__name__}: {error}")

    def _next(self, timeout_s: float) -> Batch:
        """Return the next images, no two of one stream."""
        if not self._taken:
            self._taken.extend(self._mailbox.take(timeout_s))
        batch: list[tuple[Stream, Received]] = []
        while self._taken:
            stream = self.stream_of(self._taken[0].camera.name)
            if stream is None or any(stream is other for other, _ in batch):
                break
            batch.append((stream, self._taken.popleft()))
        return batch

    @contextmanager
    def _guarded(self, received: Received | None = None) -> Iterator[None]:
        """Keep one failure from ending the thread."""
        try:
            yield
        except BadInputError as problem:
            if received is None:
                raise
            self._reject(received, problem)
        except Exception as error:
            if self._status.can_publish:
                self._recover(received, error)
            else:  # ROS was shut down meanwhile
                self._stopping.set()

    @property
    def _needs_whole_streams(self) -> bool:
        """True if something waits that must not see an image which is in the network only."""
        with self._lock:
            is_asked = bool(self._requests) or self._wanted is not None
        return is_asked or not self.is_active or any(x.is_saving_due for x in self.streams)

    def _process(self, batch: Batch) -> None:
        """Begin the images, and finish those before while the device computes."""
        if not self.is_active:  # it was deactivated meanwhile
            for _, received in batch:
                self._drop(received)
            return
        self._begun = begin_batch(batch, self._warn, self._publish_pose, self._finish)
        more_wait = bool(self._taken) or not self._mailbox.is_empty
        if not more_wait or not all(image.stream.computes_beside_host for image in self._begun):
            self._finish()

    def _finish(self) -> None:
        """Publish the results of the images that have begun."""
        begun, self._begun = self._begun, []
        for image in begun:
            stream, received = image.stream, image.received
            with self._guarded(received):
                result = image.finish()
                self._publishers[stream.name].publish(stream, result)
                stream.measure_scale()  # after publishing, because it may wait for /tf
                received.camera.processed += 1
                self._publish_status(received, StreamStatus.PROCESSED)

    def _publish_pose(self, stream: Stream, pose: FramePose) -> None:
        self._publishers[stream.name].publish_pose(stream, pose)

    def _serve_requests(self) -> None:
        with self._lock:
            requests, self._requests = self._requests, deque()
            settings, self._wanted = self._wanted, None
        for action, answer in requests:
            answer.set_result(self._answer(action))
        if settings is not None:
            self._apply(settings)

    def _answer(self, action: Action) -> Answer:
        """Ask each stream, whatever the others answer."""
        answers = [self._answer_of(stream, action) for stream in self.streams]
        text = "; ".join(answer.message for answer in answers)
        return Answer(all(answer.success for answer in answers), text)

    def _answer_of(self, stream: Stream, action: Action) -> Answer:
        of = f"{stream.name}: " if stream.name else ""
        try:
            return Answer(True, of + action(stream))
        except (OSError, ValueError, RuntimeError) as error:
            return Answer(False, of + str(error))
        except Exception as error:  # the client must not wait for ever
            text = f"{of}{type(error).__name__}: {error}"
            self._warn("request", f"a request failed: {text}")
            return Answer(False, text)

    def _apply(self, settings: Settings) -> None:
        before = self.streams[0].settings
        try:
            for stream in self.streams:
                stream.configure(settings)
        except (ValueError, RuntimeError) as error:  # RuntimeError: no memory for such a map
            self.refused = str(error).partition("\n")[0]
            try:
                for stream in self.streams:
                    stream.configure(before)
            except (ValueError, RuntimeError) as again:
                self._warn("settings", f"the previous settings cannot be used either: {again}")

    def _drop(self, received: Received) -> None:
        received.camera.dropped += 1
        self._publish_status(received, StreamStatus.DROPPED)

    def _reject(self, received: Received, problem: BadInputError) -> None:
        camera = received.camera
        reason = f"{camera.topic}: image refused, {problem}"
        camera.rejected += 1
        camera.last_rejection = reason
        camera.warn(problem.kind, reason)
        self._publish_status(received, StreamStatus.REJECTED)

    def _recover(self, received: Received | None, error: Exception) -> None:
        """Go on after an unexpected error: the frame is lost, and a stream if it is corrupted."""
        text = f"{type(error).__name__}: {error}"
        try:
            text += "".join(_reset_corrupted(stream, text) for stream in self.streams)
        except Exception as again:  # the thread lives on whatever happens
            self._warn("reset", f"the stream could not be reset: {again}")
        if received is None:
            self._warn("error", text)
        else:
            self._reject(received, BadInputError("error", text))

    def _snapshot(self) -> WorkerSnapshot:
        return WorkerSnapshot(self.is_paused, self._lifecycle_state(), self.restarts)

    def _publish_status(self, received: Received, outcome: int) -> None:
        camera = received.camera.name
        stream = self.stream_of(camera)
        worker = self._snapshot()
        if stream is None:
            self._status.publish(received, outcome, worker, None, {})
            return
        timings = self._publishers[stream.name].timings(camera)
        self._status.publish(received, outcome, worker, stream.snapshot(camera), timings)


def _reset_corrupted(stream: Stream, why: str) -> str:
    if not stream.is_corrupted:
        return ""
    stream.reset(why)
    return "; the stream starts again"
