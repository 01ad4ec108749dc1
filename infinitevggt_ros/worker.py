"""The inference thread: takes the newest image, pushes it into the stream, publishes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread

import torch
from cv_bridge import CvBridge
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from torch import Tensor

from infinitevggt_core import PixelMap, PointMap, Prediction, StreamSession, preprocess
from infinitevggt_ros.calibration import camera_matrix, is_distorted
from infinitevggt_ros.frame_result import FrameResult
from infinitevggt_ros.image_gate import BadInputError, ImageGate
from infinitevggt_ros.images import remark, rgb_from_compressed, rgb_from_image, stamp_ns
from infinitevggt_ros.mailbox import Mailbox, Received
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.outputs import Outputs
from infinitevggt_ros.settings import Settings

IDLE_S = 0.1
DEFAULT_FRAME = "camera_optical_frame"
ImageMessage = Image | CompressedImage


@dataclass(slots=True)
class Counts:
    """What became of the images since the node started."""

    processed: int = 0
    rejected: int = 0
    resets: int = 0
    last_rejection: str = ""


class StreamWorker:
    """Owns the stream and its map. The executor leaves images and requests; this thread does the
    rest, requests between two frames."""

    def __init__(
        self,
        session: StreamSession,
        settings: Settings,
        outputs: Outputs,
        topic: str,
        warn: Callable[[str, str], None],
    ) -> None:
        """warn(kind, text): the node's throttled warning."""
        self.session = session
        self.mailbox: Mailbox[Received[ImageMessage]] = Mailbox()
        self.calibration: CameraInfo | None = None
        self._settings = settings
        self._outputs = outputs
        self._topic = topic
        self._warn = warn
        self._map = PointMap(settings.map)
        self._map_changed = False
        self._map_published_s = 0.0
        self._gate = ImageGate(settings.input.restart_after)
        self._bridge = CvBridge()
        self._counts = Counts()
        self._latest: FrameResult | None = None
        self._requests = Lock()
        self._wanted_settings: Settings | None = None
        self._wanted_reset = False
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="inference")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the frame in hand and end the thread; publishers may be destroyed after this."""
        self._stopping.set()
        self._thread.join()

    def request(self, settings: Settings) -> None:
        """Use these settings from the next frame on."""
        with self._requests:
            self._wanted_settings = settings

    def request_reset(self) -> None:
        """Start a new world with the next image."""
        with self._requests:
            self._wanted_reset = True

    def receive(self, message: ImageMessage) -> None:
        """Take an image from the executor; never blocks."""
        replaced = self.mailbox.put(Received(message, time.monotonic()))
        if replaced is not None:
            self._publish_status(replaced, StreamStatus.DROPPED, 0.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            received = self.mailbox.take(IDLE_S)
            try:
                self._serve_requests()
                if received is not None:
                    self._process(received)
                self._publish_map_when_due()
            except Exception as error:  # one bad frame must not end the stream
                if not self._outputs.can_publish:  # ROS was shut down under our hands
                    return
                self._recover(received, error)

    def _serve_requests(self) -> None:
        with self._requests:
            settings, self._wanted_settings = self._wanted_settings, None
            reset, self._wanted_reset = self._wanted_reset, False
        if reset:
            self._reset()
        if settings is not None:
            self._apply(settings)

    def _apply(self, settings: Settings) -> None:
        try:
            self.session.configure(settings.memory)
        except ValueError as error:  # it was possible until the first image told its size
            self._warn("memory", f"memory.* stays as it was: {error}")
        self._map.configure(settings.map)
        self._map_changed = True
        self._outputs.settings = settings.output
        self._settings = settings

    def _process(self, received: Received[ImageMessage]) -> None:
        message = received.message
        message.header.frame_id = message.header.frame_id or DEFAULT_FRAME
        started_s = time.monotonic()
        try:
            image, pixel_map = self._admit(message)
            prediction = self._push(image)
        except BadInputError as problem:
            self._reject(received, problem)
            return
        inference_ms = 1e3 * (time.monotonic() - started_s)
        self._gate.admit(stamp_ns(message), pixel_map.camera_size)
        result = self._result(message, image, prediction, pixel_map)
        self._fuse(result)
        self._outputs.publish_frame(result)
        self._latest = result
        self._counts.processed += 1
        self._publish_status(received, StreamStatus.PROCESSED, inference_ms)

    def _admit(self, message: ImageMessage) -> tuple[Tensor, PixelMap]:
        """The network's image, if the message may enter the stream. Raises BadInputError."""
        if isinstance(message, Image):
            rgb = rgb_from_image(message, self._bridge)
            if text := remark(message.encoding):
                self._warn("remark", f"{self._topic}: {text}")
        else:
            rgb = rgb_from_compressed(message, self._bridge)
        if self._gate.check(stamp_ns(message), (rgb.shape[0], rgb.shape[1])):
            self._warn("restart", f"{self._topic}: the images stay different, the stream restarts")
            self._reset()
        config = self.session.model.config
        size = self._settings.model.image_size or config.img_size
        try:
            return preprocess(rgb, size, config.patch_size)
        except ValueError as error:
            raise BadInputError("size", str(error)) from error

    def _push(self, image: Tensor) -> Prediction:
        try:
            return self.session.push(image)
        except ValueError as error:  # refused before it touched the stream
            raise BadInputError("memory", str(error)) from error

    def _result(
        self, message: ImageMessage, image: Tensor, prediction: Prediction, pixel_map: PixelMap
    ) -> FrameResult:
        intrinsics = self._known_intrinsics(pixel_map)
        if intrinsics is None:
            intrinsics = prediction.intrinsics[0].cpu()
        if not torch.isfinite(intrinsics).all():
            self._warn("intrinsics", "the network gave a field of view of zero: no points from it")
            intrinsics = torch.full_like(intrinsics, torch.nan)
        return FrameResult(message.header, image, prediction, pixel_map, intrinsics)

    def _known_intrinsics(self, pixel_map: PixelMap) -> Tensor | None:
        info = self.calibration
        if info is None or self._settings.input.intrinsics == "predicted":
            return None
        try:
            matrix = camera_matrix(info, pixel_map.camera_size)
        except BadInputError as problem:
            self._warn(problem.kind, f"camera_info of {self._topic} is not used: {problem}")
            return None
        if is_distorted(info):
            self._warn("distortion", f"{self._topic}: lens distortion is ignored; rectify it first")
        return (
            None if matrix is None else torch.from_numpy(pixel_map.model_intrinsics(matrix)).float()
        )

    def _fuse(self, result: FrameResult) -> None:
        prediction = result.prediction
        points = prediction.world_points(result.intrinsics[None].to(prediction.depth.device))
        self._map.insert(points[0], result.image, prediction.depth_confidence[0])
        self._map_changed = True

    def _publish_map_when_due(self) -> None:
        due = time.monotonic() - self._map_published_s >= self._settings.output.map_period
        if self._latest and self._map_changed and due and self._outputs.map_is_wanted:
            self._outputs.publish_map(self._map, self._latest.header)
            self._map_changed, self._map_published_s = False, time.monotonic()

    def _reset(self) -> None:
        self.session.reset()
        self._map.reset()
        self._gate.forget()
        self._outputs.reset()
        self._latest = None
        self._counts.resets += 1

    def _reject(self, received: Received[ImageMessage], problem: BadInputError) -> None:
        reason = f"{self._topic}: image refused, {problem}"
        self._counts.rejected += 1
        self._counts.last_rejection = reason
        self._warn(problem.kind, reason)
        self._publish_status(received, StreamStatus.REJECTED, 0.0)

    def _recover(self, received: Received[ImageMessage] | None, error: Exception) -> None:
        """Something nobody foresaw: the stream may be torn, so it starts again."""
        try:
            self._reset()
        except Exception as again:  # the thread lives on whatever happens
            self._warn("reset", f"the stream could not be reset: {again}")
        text = f"{type(error).__name__}: {error}; the stream restarts"
        if received is None:
            self._warn("error", text)
        else:
            self._reject(received, BadInputError("error", text))

    def _publish_status(
        self, received: Received[ImageMessage], outcome: int, inference_ms: float
    ) -> None:
        model, counts = self._settings.model, self._counts
        status = StreamStatus(header=received.message.header, outcome=outcome)
        status.frames_received = self.mailbox.received
        status.frames_dropped = self.mailbox.replaced
        status.frames_processed = counts.processed
        status.frames_rejected = counts.rejected
        status.last_rejection = counts.last_rejection
        status.frame_index = self.session.frame_index
        status.map_id = counts.resets
        status.policy = self.session.memory.policy
        status.total_budget = self.session.memory.total_budget
        status.stored_tokens = self.session.stored_tokens
        status.memory_bytes = self.session.memory_bytes
        status.map_points = len(self._map)
        status.inference_ms = inference_ms
        status.latency_ms = 1e3 * (time.monotonic() - received.time_s)
        status.device = str(self.session.model.device)
        status.checkpoint = model.source
        status.random_weights = model.is_random
        self._outputs.publish_status(status)
