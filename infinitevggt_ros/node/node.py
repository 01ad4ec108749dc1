# SPDX-License-Identifier: Apache-2.0
"""The ROS node: camera images in; transforms, depth and a fused cloud out."""

import math
import time
from collections.abc import Callable
from copy import copy
from functools import partial

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import (
    qos_profile_sensor_data,
)
from rclpy.subscription import Subscription
from rclpy.task import Future
from sensor_msgs.msg import Image, Imu

from infinitevggt_core import VGGT, StreamSession
from infinitevggt_core.model.model_card import model_note
from infinitevggt_ros.input.calibration_subscription import CalibrationSubscription
from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.image_subscription import ImageSubscription, image_topic
from infinitevggt_ros.node.diagnostics import Diagnostics
from infinitevggt_ros.node.file_root import FileRoot
from infinitevggt_ros.node.managed_node import ManagedNode, TransitionError
from infinitevggt_ros.node.services import Services
from infinitevggt_ros.node.status import StatusPublisher
from infinitevggt_ros.node.stream_publisher import StreamPublisher, publishers_of_worlds
from infinitevggt_ros.node.worker import Action, StreamWorker
from infinitevggt_ros.params import parameters, rclpy_compat
from infinitevggt_ros.params.model_loading import load_model
from infinitevggt_ros.params.qos import OVERRIDABLE, asked_reliability
from infinitevggt_ros.stream.state_file import remove_partials
from infinitevggt_ros.stream.stream import Stream
from infinitevggt_ros.topics import topic_of

WARNING_PERIOD_S = 5.0
SUPERVISION_PERIOD_S = 0.1
IDLE_STATUS_PERIOD_S = 2.0
ANSWER_S = 0.5
"""Time for the answer to a shutdown request before the process leaves."""
CLOCK_JUMP = JumpThreshold(
    min_forward=None, min_backward=Duration(seconds=-0.1), on_clock_change=True
)


class StreamNode(ManagedNode):
    """Declares and subscribes; the worker does the work, so that the executor never blocks."""

    def __init__(self) -> None:
        super().__init__("infinitevggt")
        self.ended: Future[str] = Future()
        """Done when the node cannot go on, with the reason; empty if it was shut down."""
        self._warned_s: dict[str, float] = {}
        self._last_warning = -math.inf, ""
        settings = self._settings = parameters.declare(self)
        for text in parameters.unknown(self):
            self.warn(text, text)
        names = settings.input.camera_names
        self.cameras = [self._camera(name) for name in names]
        """Cameras by the order of the parameter."""
        self._stream_publishers = {
            publisher.name: publisher
            for publisher in publishers_of_worlds(self, settings, self.warn)
        }
        self.status = StatusPublisher(self, settings.model)
        """Publisher of ~/status."""
        self.worker = StreamWorker(
            self._load,
            self._stream_publishers,
            self.status,
            self.warn,
            lambda: self.lifecycle_state,
        )
        self.diagnostics = Diagnostics(
            self, self.worker, self.status, self.cameras, lambda: self._last_warning
        )
        self.image_subscriptions: list[ImageSubscription] = []
        """Subscriptions while the node is active."""
        self._imu: Subscription | None = None
        for camera in self.cameras:
            CalibrationSubscription(self, topic_of(camera.name, "camera_info"), camera.calibrate)
        Services(self, self.worker, FileRoot(settings.files.root))
        self.add_on_set_parameters_callback(self._check_parameters)
        rclpy_compat.add_post_set_parameters_callback(self, self._apply_parameters)
        self._jumps = self.get_clock().create_jump_callback(
            CLOCK_JUMP, post_callback=self._on_clock_jump
        )
        # not the node's clock: that one stands still while a bag is paused or not yet played
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(SUPERVISION_PERIOD_S, self.supervise, clock=steady)
        self._first_map_id = 0
        self._shut_down_s = math.inf
        self._idle_status_s = -math.inf
        if settings.lifecycle.autostart:
            self.start_itself(self.ended.set_result)

    @property
    def saves_at_the_end(self) -> bool:
        """True if the stream is written to a file when the node stops."""
        return bool(self._settings.state.path)

    # The life cycle. These methods run beside the executor, see ManagedNode. Subscriptions follow
    # in `supervise`, because the executor must not use what another thread destroys.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the checkpoint, into the host's memory."""

        def load() -> None:
            self.worker.start()
            try:
                self.worker.wait_for_streams()
            except RuntimeError as error:
                self.worker.stop()
                raise TransitionError(str(error)) from error

        return self.attempt("configure", load)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Move the weights to their device and use images from now on."""
        result = self.attempt("activate", lambda: self._ask_streams(self._wake))
        self.worker.is_active = result == TransitionCallbackReturn.SUCCESS
        if not self.worker.is_active:
            self.worker.ask(self._sleep)  # of several worlds, some may have found room
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop using images and free the device. The streams keep their worlds."""
        self.worker.is_active = False
        result = self.attempt("deactivate", lambda: self._ask_streams(self._sleep))
        self.worker.is_active = result != TransitionCallbackReturn.SUCCESS
        if self.worker.is_active:
            self.worker.ask(self._wake)  # of several worlds, some may sleep already
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release weights, memory and map. `state.path` is saved before; if that fails, nothing is
        released."""

        def release() -> None:
            try:
                self._ask_streams(_save)
            except TransitionError as error:
                raise TransitionError(
                    f"state.path: {error}; try again, or shut down without saving"
                ) from error
            self._ask_streams(self._clear)
            map_ids = [stream.map_id for stream in self.worker.streams]
            self._first_map_id = max(map_ids, default=self._first_map_id)
            self.worker.stop()
            self.status.remove_streams(self.cameras)

        return self.attempt("cleanup", release)

    def _ask_streams(self, action: Action) -> None:
        """Raise TransitionError if a stream refuses an action."""
        answer = self.worker.ask(action)
        if not answer.success:
            raise TransitionError(answer.message)

    def _wake(self, stream: Stream) -> str:
        stream.wake()
        self._stream_publishers[stream.name].wake()
        return ""

    def _sleep(self, stream: Stream) -> str:
        self._stream_publishers[stream.name].rest()
        stream.sleep()
        return ""

    def _clear(self, stream: Stream) -> str:
        stream.reset("cleaned up")
        self._stream_publishers[stream.name].follow(stream)
        return ""

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let the process leave when the client has the answer."""
        self.worker.is_active = False
        self._shut_down_s = time.monotonic()
        return TransitionCallbackReturn.SUCCESS

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, at most one of a kind every 5 s."""
        now_s = time.monotonic()
        self._last_warning = now_s, text
        if now_s - self._warned_s.get(kind, -WARNING_PERIOD_S) >= WARNING_PERIOD_S:
            self._warned_s[kind] = now_s
            self.get_logger().warning(text)

    def _load(self) -> list[Stream]:
        """Return the streams. Called in the worker's thread, because a checkpoint takes its time to
        load. Raises ValueError."""
        settings = self._settings
        if settings.model.is_random:
            self.get_logger().warning(
                f"{settings.model.source}: the weights are random, poses and depth mean nothing. "
                "Set model.checkpoint to a trained one"
            )
        self.status.model = settings.model
        model = load_model(settings.model)
        if note := model_note(settings.model.source):
            self.get_logger().info(note)
        streams = [
            self._new_stream(model, publisher) for publisher in self._stream_publishers.values()
        ]
        for stream in streams:
            self._stream_publishers[stream.name].attach(stream)
            self._sleep(stream)
        return streams

    def _new_stream(self, model: VGGT, publisher: StreamPublisher) -> Stream:
        """Return the stream of a publisher, restored from `state.path`. Raises ValueError."""
        settings = self._settings
        stream = Stream(
            StreamSession(model, settings.memory),
            settings,
            self.warn,
            publisher.robot,
            name=publisher.name,
            cameras=publisher.cameras,
            now_ns=lambda: publisher.now_ns,
            background=settings.pose.background,
        )
        stream.map_id = self._first_map_id
        if not settings.state.path:
            return stream
        path = stream.path_for_stream(settings.state.file)
        if not path.parent.is_dir():
            raise ValueError(f"state.path: there is no directory {path.parent.absolute()}")
        remove_partials(path)
        if path.exists():
            try:
                stream.load_world(settings.state.file)
                frames = stream.session.frame_index
                self.get_logger().info(
                    f"continuing from {path}: frame {frames}, map {stream.map_id}"
                )
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"state.path: {error}; move the file away to start without it"
                ) from error
        return stream

    def supervise(self) -> None:
        """Act in the executor on what happened in the worker's thread."""
        worker = self.worker
        if time.monotonic() - self._shut_down_s > ANSWER_S and not self.ended.done():
            self.ended.set_result("")
        if worker.revive():
            self.get_logger().error("the inference thread died and was started again")
        if worker.refused:
            self._restore_parameters()
        if not worker.is_active:
            self._publish_idle_status()
            self._unsubscribe()
        elif worker.stream is not None and not self.image_subscriptions:
            self._subscribe(worker.stream.session.model.device)

    def _publish_idle_status(self) -> None:
        """Publish a status of each camera every few seconds, while no image brings one."""
        now_s = time.monotonic()
        if now_s - self._idle_status_s >= IDLE_STATUS_PERIOD_S:
            self._idle_status_s = now_s
            for camera in self.cameras:
                self.worker.publish_idle_status(camera)

    def _camera(self, name: str) -> Camera:
        settings = self._settings.input
        topic = image_topic(self, topic_of(name, "image"), settings.image_transport)
        asked_reliability(self, topic)  # here, where what cannot be ends the start
        return Camera(name, topic, settings, self.warn)

    def _subscribe(self, device: object) -> None:
        """Subscribe to the images and the IMU."""
        for camera in self.cameras:
            receive = partial(self.worker.receive, camera=camera)
            self._receive(topic_of(camera.name, "image"), receive, is_depth=False)
            if self._settings.scale.source == "depth":
                keep = partial(self._on_depth, camera=camera.name)
                self._receive(topic_of(camera.name, "depth"), keep, is_depth=True)
        if self._settings.gravity.source == "imu":
            self._imu = self.create_subscription(
                Imu,
                "imu",
                self._on_imu,
                copy(qos_profile_sensor_data),
                qos_overriding_options=OVERRIDABLE,
            )
        topics = ", ".join(camera.topic for camera in self.cameras)
        source = self._settings.model.source
        self.get_logger().info(f"{source} on {device}; waiting for {topics}")

    def _unsubscribe(self) -> None:
        for subscription in self.image_subscriptions:
            subscription.close()
        self.image_subscriptions.clear()
        if self._imu is not None:
            self.destroy_subscription(self._imu)
            self._imu = None

    def _on_imu(self, imu: Imu) -> None:
        for stream in self.worker.streams:
            stream.gravity.keep(imu)

    def _on_depth(self, image: Image, camera: str) -> None:
        # the stream as it is now: between two looks of `supervise` it may have become another
        stream = self.worker.stream_of(camera)
        if stream is not None:
            stream.scale.keep_depth(image, camera)

    def _receive(self, topic: str, receive: Callable[..., None], *, is_depth: bool) -> None:
        settings = self._settings.input
        transport = "raw" if is_depth else settings.image_transport
        self.image_subscriptions.append(
            ImageSubscription(
                self, topic, transport, settings.image_reliability, receive, self.warn
            )
        )

    def _restore_parameters(self) -> None:
        """Set back the parameters that the streams refused."""
        stream, reason = self.worker.stream, self.worker.refused
        self.worker.refused = ""
        if stream is not None:
            changed = parameters.differences(stream.settings, self._settings)
            self.get_logger().error(f"set back: {', '.join(p.name for p in changed)}: {reason}")
            self.set_parameters(changed)

    def _on_clock_jump(self, jump: TimeJump) -> None:
        """Reset the streams, because /clock went back or another clock is used."""
        if self._settings.time.on_jump == "refuse":
            return
        back_s = -jump.delta.nanoseconds / 1e9
        why = f"the clock went back by {back_s:.1f} s" if back_s > 0 else "another clock is used"

        def reset(stream: Stream) -> str:
            if stream.session.frame_index:
                stream.restart(why)
                self.get_logger().warning(f"{why}: the stream starts again, map {stream.map_id}")
            return why

        for publisher in self._stream_publishers.values():
            publisher.robot.buffer.clear()
        self.worker.submit(reset)

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        """Refuse values that cannot work, with the reason. Changes nothing."""
        try:
            settings = parameters.with_changes(self._settings, changes)
            if settings.model != self._settings.model and self.lifecycle_state != "unconfigured":
                raise ValueError(
                    f"model.* changes while the node is unconfigured, and it is "
                    f"{self.lifecycle_state}: deactivate it and clean it up before"
                )
            for stream in self.worker.streams:
                stream.session.check(settings.memory)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        self._settings = parameters.with_changes(self._settings, changes)
        self.worker.configure(self._settings)


def _save(stream: Stream) -> str:
    stream.save()
    return ""
