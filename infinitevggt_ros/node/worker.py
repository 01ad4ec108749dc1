# SPDX-License-Identifier: Apache-2.0
"""The inference thread: loads the stream, takes the newest images, serves requests between two."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Lock, Thread

from rclpy.task import Future

from infinitevggt_core import Prediction
from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.input.intake import ImageMessage, NetworkImage
from infinitevggt_ros.input.mailbox import Mailbox, Received
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.status import StreamReport
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.stream import Stream, push_streams

IDLE_S = 0.1
Answer = tuple[bool, str]
"""Success, and a word on it."""
NO_STREAM: Answer = False, "there is no stream: configure the node first"
Turn = list[tuple[Stream, Received]]
"""Images that are computed together."""
Request = tuple[Callable[[Stream], str], "Future[Answer]"]


class StreamWorker:
    """The executor leaves images and requests; this thread does the rest, requests between two
    frames. One bad frame never ends it, and `revive` starts it again should it ever die."""

    def __init__(
        self,
        load: Callable[[], Sequence[Stream]],
        report: StreamReport,
        warn: Callable[[str, str], None],
    ) -> None:
        """warn(kind, text): the node's throttled warning."""
        self._mailbox = Mailbox()
        self._taken: deque[Received] = deque()
        self.streams: Sequence[Stream] = ()
        """Empty before they are loaded. Others than the worker only look."""
        self.load_error: Exception | None = None
        self.refused: str = ""
        """Why the last settings could not be used, until the node has taken it back."""
        self.is_active = False
        """Whether images are used, as the life cycle has it."""
        self.is_paused = False
        """Whether they are not, as somebody asked for."""
        self._load = load
        self._report = report
        self._warn = warn
        self._lock = Lock()
        self._starting = Lock()  # the life cycle and the executor's `revive` are different threads
        self._requests: deque[Request] = deque()
        self._wanted: Settings | None = None
        self._stopping, self._has_loaded = Event(), Event()
        self._thread: Thread | None = None

    @property
    def stream(self) -> Stream | None:
        """The first stream, for what all have in common; None before they are loaded."""
        return self.streams[0] if self.streams else None

    def stream_of(self, camera: str) -> Stream | None:
        """None while it loads."""
        return next((stream for stream in self.streams if camera in stream.trajectories), None)

    def start(self) -> None:
        """Load the streams and serve them, in a thread."""
        with self._starting:
            self.load_error = None
            self._stopping.clear()
            self._has_loaded.clear()
            self._start_thread()

    def wait_for_streams(self) -> str:
        """Until they are loaded; why they cannot be, empty if they are."""
        self._has_loaded.wait()
        return "" if self.load_error is None else str(self.load_error)

    def stop(self, timeout_s: float | None = None) -> bool:
        """End the thread after the frame in hand and let go of the streams; whether it did in time,
        which None has no limit for. Only then may publishers be destroyed."""
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
        """Start the thread again if it has died; whether it had."""
        with self._starting:
            thread = self._thread
            if thread is None or thread.is_alive():
                return False
            if self._stopping.is_set() or self.load_error is not None:
                return False
            if self.streams:
                self.submit(lambda stream: _reset_torn(stream, "the inference thread had died"))
            self._report.worker_restarts += 1
            self._start_thread()
            return True

    def configure(self, settings: Settings) -> None:
        """Use these settings from the next frame on."""
        with self._lock:
            self._wanted = settings

    def submit(self, action: Callable[[Stream], str]) -> "Future[Answer]":
        """Do something with each stream between two frames. It returns a word on its success, and
        may raise OSError, ValueError or RuntimeError to refuse; anything else is warned of too."""
        answer: Future[Answer] = Future()
        with self._lock:
            if self._thread is None and not self.streams:
                answer.set_result(NO_STREAM)
            else:
                self._requests.append((action, answer))
        return answer

    def ask(self, action: Callable[[Stream], str]) -> Answer:
        """As `submit`, and wait for the answer: not in the executor."""
        answered, answer = Event(), self.submit(action)
        answer.add_done_callback(lambda _: answered.set())
        answered.wait()
        result = answer.result()
        assert result is not None
        return result

    def process(self, stream: Stream, message: ImageMessage, camera: Camera) -> None:
        """One image, in the caller's thread and instead of start(): every one in its turn, and what
        nobody foresaw reaches the caller."""
        self.streams = (stream,)
        camera.received += 1
        received = Received(message, time.monotonic(), camera)
        try:
            stream.process(received)
        except BadInputError as problem:
            self._reject(received, problem)
        else:
            self._count_processed(received)

    def receive(self, message: ImageMessage, camera: Camera) -> None:
        """Take an image from the executor; never blocks."""
        received = Received(message, time.monotonic(), camera)
        if self.is_paused or not self.is_active:
            camera.received += 1
            self._drop(received)
        elif (replaced := self._mailbox.put(received)) is not None:
            self._publish_status(replaced, StreamStatus.DROPPED)

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
            turn = self._next()
            with self._unbroken():
                self._serve_requests()
            self._process(turn)
            for stream in self.streams:
                with self._unbroken():
                    stream.do_what_is_due()
        for end in (Stream.begin_saving, Stream.close):  # all begin before one is waited for
            for stream in self.streams:
                try:
                    end(stream)
                except Exception as error:  # the others are to be saved all the same
                    self._warn("state", f"the stream is lost: {type(error).__name__}: {error}")

    def _next(self) -> Turn:
        """The next images, no two of one stream."""
        if not self._taken:
            self._taken.extend(self._mailbox.take(IDLE_S))
        turn: Turn = []
        while self._taken:
            stream = self.stream_of(self._taken[0].camera.name)
            if stream is None or any(stream is other for other, _ in turn):
                break
            turn.append((stream, self._taken.popleft()))
        return turn

    @contextmanager
    def _unbroken(self, received: Received | None = None) -> Iterator[None]:
        """One bad frame must not end the stream."""
        try:
            yield
        except BadInputError as problem:
            if received is None:
                raise
            self._reject(received, problem)
        except Exception as error:
            if self._report.can_publish:
                self._recover(received, error)
            else:  # ROS was shut down under our hands
                self._stopping.set()

    def _process(self, turn: Turn) -> None:
        if self.is_active and len(turn) > 1:
            self._process_together(turn)
            return
        for stream, received in turn:
            if not self.is_active:  # it was deactivated meanwhile
                self._drop(received)
                continue
            with self._unbroken(received):
                stream.process(received)
                self._count_processed(received)

    def _process_together(self, turn: Turn) -> None:
        """In one forward of the network; where that fails, one by one, so that only what is bad is
        lost."""
        admitted: list[tuple[Stream, Received, NetworkImage]] = []
        for stream, received in turn:
            with self._unbroken(received):
                admitted.append((stream, received, stream.admit(received)))
        predictions: Sequence[Prediction | None] = [None] * len(admitted)
        try:
            predictions = push_streams([(stream, image) for stream, _, image in admitted])
        except Exception as error:
            self._warn("together", f"the cameras are computed one by one: {error}")
        for (stream, received, image), found in zip(admitted, predictions, strict=True):
            with self._unbroken(received):
                stream.publish(received, image, found or stream.push(image))
                self._count_processed(received)

    def _serve_requests(self) -> None:
        with self._lock:
            requests, self._requests = self._requests, deque()
            settings, self._wanted = self._wanted, None
        for action, answer in requests:
            answer.set_result(self._answer(action))
        if settings is not None:
            self._apply(settings)

    def _answer(self, action: Callable[[Stream], str]) -> Answer:
        """Each stream's, whatever becomes of the others."""
        answers = [self._answer_of(stream, action) for stream in self.streams]
        return all(done for done, _ in answers), "; ".join(text for _, text in answers)

    def _answer_of(self, stream: Stream, action: Callable[[Stream], str]) -> Answer:
        of = f"{stream.name}: " if stream.name else ""
        try:
            return True, of + action(stream)
        except (OSError, ValueError, RuntimeError) as error:
            return False, of + str(error)
        except Exception as error:  # whoever asked must not wait for ever
            text = f"{of}{type(error).__name__}: {error}"
            self._warn("request", f"a request broke off: {text}")
            return False, text

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
                self._warn("settings", f"the settings of before cannot be used either: {again}")

    def _count_processed(self, received: Received) -> None:
        received.camera.processed += 1
        self._publish_status(received, StreamStatus.PROCESSED)

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
        """Something nobody foresaw: the frame is lost, a stream only if it broke off in it."""
        text = f"{type(error).__name__}: {error}"
        try:
            text += "".join(_reset_torn(stream, text) for stream in self.streams)
        except Exception as again:  # the thread lives on whatever happens
            self._warn("reset", f"the stream could not be reset: {again}")
        if received is None:
            self._warn("error", text)
        else:
            self._reject(received, BadInputError("error", text))

    def _publish_status(self, received: Received, outcome: int) -> None:
        self._report.publish(received, outcome, self)


def _reset_torn(stream: Stream, why: str) -> str:
    if not stream.is_torn:
        return ""
    stream.reset(why)
    return "; the stream starts again"
