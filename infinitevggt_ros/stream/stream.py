# SPDX-License-Identifier: Apache-2.0
"""A stream: an image in, results published, a map that grows."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from infinitevggt_core import PointMap, Prediction, StreamSession, push_together
from infinitevggt_core.mapping.view import View
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_ros.axes import MAP_FROM_WORLD, levelled
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.image_gate import BadInputError, ImageGate
from infinitevggt_ros.input.intake import NetworkImage
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.output.camera_publishers import Timing
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.output.map_publisher import Outputs
from infinitevggt_ros.output.trajectory import Trajectory
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.gravity import Gravity, Vector
from infinitevggt_ros.stream.scale.source import Robot
from infinitevggt_ros.stream.scale.stream_scale import StreamScale
from infinitevggt_ros.stream.state_file import PeriodicState, read_state

DEFAULT_FRAME = "camera_optical_frame"


class Stream:
    """Convert, push, publish. Belongs to the worker's thread."""

    def __init__(
        self,
        session: StreamSession,
        settings: Settings,
        outputs: Outputs,
        warn: Callable[[str, str], None],
    ) -> None:
        """warn(kind, text): the node's throttled warning."""
        self.session = session
        self.settings = settings
        self.map = PointMap(settings.map)
        self.map_id = 0
        self.last_reset = ""
        self.inference_ms = 0.0
        self.scale = 1.0
        """Of all lengths that were published last."""
        robot = Robot(outputs.position_in_odom, outputs.between)
        self.measured = StreamScale(settings, robot, warn)
        self.map_from_world = MAP_FROM_WORLD
        """4 x 4, of this map."""
        self.gravity = Gravity(settings.gravity, settings.tf.base_frame, outputs.pose_of)
        self._up: Vector | None = None  # in the first camera's axes, while it is in the network
        self.latest: FrameResult | None = None
        """Of this map."""
        self.latest_of: dict[str, FrameResult] = {}
        """The same of each camera."""
        self._outputs = outputs
        self._warn = warn
        self._gate = ImageGate(settings.input.restart_after, settings.time)
        self._map_changed = False
        self._map_published_s = 0.0
        self._updates_published_s = 0.0
        self._state = settings.state
        self._periodic = PeriodicState(self.own(Path(self._state.path)), self._state.period)
        self._saved_frame = 0
        self._device = session.model.device

    def process(self, received: Received) -> None:
        """The next image. Raises BadInputError for one that cannot be used."""
        image = self.admit(received)
        self.publish(received, image, self.push(image))

    def admit(self, received: Received) -> NetworkImage:
        """The network's image, if it may enter. Raises BadInputError if not."""
        header = received.message.header
        header.frame_id = header.frame_id or DEFAULT_FRAME
        camera, now_ns = received.camera, self._outputs.now_ns
        rgb = camera.intake.rgb(received.message)
        size = (rgb.shape[0], rgb.shape[1])
        if why := self._gate.check(stamp_ns(received.message), size, now_ns, camera.name):
            self.reset(why)
            self._warn("restart", f"{why}: the stream starts again, map {self.map_id}")
        config = self.session.model.config
        width = self.settings.model.image_size or config.img_size
        image = camera.intake.prepare(rgb, width, config.patch_size)
        self._check_shape(image)
        self._up = None if self.session.frame_index else self.gravity.up(header)
        return image

    def push(self, image: NetworkImage) -> Prediction:
        """What the network says. Raises BadInputError."""
        started_s = time.monotonic()
        try:
            prediction = self.session.push(image.pixels)
        except ValueError as error:  # refused before it touched the stream
            raise BadInputError("memory", str(error)) from error
        self.inference_ms = 1e3 * (time.monotonic() - started_s)
        return prediction

    def publish(self, received: Received, image: NetworkImage, prediction: Prediction) -> None:
        """What the network says about an image that was admitted."""
        camera = received.camera
        at_ns = stamp_ns(received.message)
        self._gate.admit(at_ns, image.pixel_map.camera_size, camera.name)
        self._rescale(self.measured.factor)
        if self._up is not None:
            rotation = prediction.camera_from_world[0, :, :3].double().cpu().numpy()
            self.map_from_world = levelled(rotation.T @ self._up)
        result = self._result(received, image, prediction)
        self._fuse(result)
        self.latest = self.latest_of[camera.name] = result
        self._outputs.publish_frame(result)
        self.measured.observe(result, self.latest_of.values())  # it may wait for /tf

    def configure(self, settings: Settings) -> None:
        """Use other settings from the next frame on. Raises ValueError or RuntimeError where they
        cannot work; configure with those before then."""
        self.session.configure(settings.memory)
        points = len(self.map)
        self.map.configure(settings.map)
        if len(self.map) < points:  # other voxels: it is empty
            self._outputs.clear_map()
            self._map_changed = False
        self._outputs.settings = settings.output
        self._gate.time = settings.time
        self.settings = settings

    def reset(self, why: str) -> None:
        """Start a new map with the next image."""
        self.session.reset()
        self.map.reset()
        self._gate.forget()
        self._outputs.reset()
        self.measured.reset()
        self.scale = self.measured.factor
        self.map_from_world = MAP_FROM_WORLD
        self._forget_results()
        self._saved_frame = -1  # the frame of this number was another map's
        self.map_id += 1
        self.last_reset = why

    @property
    def name(self) -> str:
        """Empty where there is one stream."""
        return self._outputs.name

    def own(self, path: Path) -> Path:
        """The stream's own file, where there are several streams."""
        return path.with_stem(f"{path.stem}_{self.name}") if self.name and path.name else path

    @property
    def is_torn(self) -> bool:
        """Whether a frame broke off in the network: only a reset helps."""
        return self.session.is_interrupted

    @property
    def trajectories(self) -> dict[str, Trajectory]:
        """By camera."""
        return self._outputs.trajectories

    def timings(self, camera: str) -> dict[str, Timing]:
        """Of what was published of a camera's last frame, and of the map."""
        return self._outputs.timings(camera)

    @property
    def error(self) -> str:
        """What goes wrong beside the images; empty if nothing."""
        return self._periodic.error

    def do_what_is_due(self) -> None:
        """Between two frames, or while none come: the map, its changes, the state."""
        settings, now_s = self.settings.output, time.monotonic()
        if self.latest is None:
            return
        if now_s - self._updates_published_s >= settings.updates_period:
            self._outputs.publish_map_changes(self.map, self.latest)
            self._updates_published_s = now_s
        is_due = now_s - self._map_published_s >= settings.map_period
        if self._map_changed and is_due and self._outputs.map_is_wanted:
            self._outputs.publish_map(self.map, self.latest)
            self._map_changed, self._map_published_s = False, now_s
        if self._periodic.is_due:
            self.begin_saving()

    def rest(self) -> None:
        """Leave the device to others, weights and memory wait in the host's; and say nothing."""
        self._outputs.rest()
        if self._device.type != "cpu":
            self.session.to("cpu")

    def wake(self) -> None:
        """Go on where it rested. Raises RuntimeError or ValueError if the device has no room any
        more."""
        if self._device.type != "cpu":
            self.session.to(self._device)
        self._outputs.wake()

    def begin_saving(self) -> None:
        """To `state.path`, if there is one, what was not."""
        if self._state.path and self._is_unsaved:
            self._save_later()

    def save(self) -> None:
        """The same, until it is done. Raises OSError."""
        self._periodic.wait()
        self.begin_saving()
        self._periodic.wait()
        if self.error:
            raise OSError(self.error)

    def close(self) -> None:
        """The thread ends: save what was not."""
        try:
            self.save()
        except OSError as error:
            self._warn("state", f"the stream is lost, it could not be saved: {error}")

    def state_dict(self) -> dict[str, Any]:
        """A snapshot between two frames: copies of memory, map and trajectory."""
        return {
            "session": self.session.state_dict(),
            "map": self.map.state_dict(),
            "gate": self._gate.state(),
            "map_id": self.map_id,
            "scale": self.scale,
            "measured": self.measured.state(),
            "map_from_world": torch.from_numpy(self.map_from_world),
            "trajectories": {
                camera: trajectory.state_dict() for camera, trajectory in self.trajectories.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot, at any time. Raises ValueError, and changes nothing, if it does
        not fit."""
        session = StreamSession(self.session.model, points=self.session.points)
        restored = PointMap(self.map.config)
        gate = ImageGate(self._gate.restart_after, self._gate.time)
        estimate = ScaleEstimate(self.settings.scale.samples)
        try:
            scale, map_id = float(state["scale"]), int(state["map_id"])
            map_from_world = state["map_from_world"].numpy().reshape(4, 4)
            restored.load_state_dict(state["map"])
            gate.restore(state["gate"])
            session.load_state_dict(state["session"])
            session.configure(self.settings.memory)
            factor = float(state["measured"][0])
            estimate.restore(state["measured"][1])
            self._outputs.restore(state["trajectories"])  # the last that may refuse
        except KeyError as error:
            raise ValueError(f"the state has no {error}") from error
        except (TypeError, RuntimeError, AttributeError, IndexError) as error:
            raise ValueError(f"not the state of a stream: {error}") from error
        self.session, self.map, self.map_id, self._gate = session, restored, map_id, gate
        self.measured.restore(factor, estimate)
        self.scale = scale
        self.map_from_world = map_from_world
        self._forget_results()
        self._map_changed = True
        self._saved_frame = self.session.frame_index

    def load_world(self, path: Path) -> None:
        """Go on in the world that a file holds, with images of any time; a stream that has begun
        gives it a new number. Raises OSError, and ValueError as `load_state_dict` does."""
        before, has_begun = self.map_id, self.map_id > 0 or self.session.frame_index > 0
        self.load_state_dict(read_state(self.own(path)))
        self._gate.forget_time()
        if has_begun:
            self.map_id = max(before, self.map_id) + 1

    @property
    def _is_unsaved(self) -> bool:
        is_new = self.session.frame_index != self._saved_frame
        return (is_new or bool(self.error)) and not self.is_torn

    def _save_later(self) -> None:
        self._periodic.write(self.state_dict())
        self._saved_frame = self.session.frame_index

    def _forget_results(self) -> None:
        self.latest = None
        self.latest_of.clear()

    def _check_shape(self, image: NetworkImage) -> None:
        """Of one camera the gate has seen to it; a rig's may have different ones."""
        shape = self.session.image_shape[1:]
        if shape and tuple(image.pixels.shape) != shape:
            (_, height, width), (_, h, w) = image.pixels.shape, shape
            raise BadInputError(
                "shape",
                f"the network takes it as {width}x{height} px and the images before it as "
                f"{w}x{h} px: cameras that share a world need images of one shape",
            )

    def _result(
        self, received: Received, image: NetworkImage, prediction: Prediction
    ) -> FrameResult:
        intrinsics = image.intrinsics
        if intrinsics is None:
            intrinsics = prediction.intrinsics[0].cpu()
        if not torch.isfinite(intrinsics).all():
            self._warn("intrinsics", "the network gave a field of view of zero: no points from it")
            intrinsics = torch.full_like(intrinsics, torch.nan)
        world = self.scale, self.map_from_world, self.measured.doubt
        return FrameResult(received, image, prediction, intrinsics, *world)

    def _rescale(self, scale: float) -> None:
        """Everything known so far has another length from this frame on."""
        if scale != self.scale:
            self._outputs.rescale(scale / self.scale)
            self.map.mark_all_changed()
            self.scale = scale

    def _fuse(self, result: FrameResult) -> None:
        prediction = result.prediction
        points = prediction.world_points(result.intrinsics[None].to(prediction.depth.device))
        view = View(
            prediction.depth[0].float().cpu(),
            prediction.camera_from_world[0].float().cpu(),
            result.intrinsics,
        )
        confidences = prediction.depth_confidence[0]
        self.map.insert(points[0], result.image.pixels, confidences, view)
        self._map_changed = True


def push_streams(images: Sequence[tuple[Stream, NetworkImage]]) -> list[Prediction]:
    """What the network says about images of several streams, together. Raises as push_together
    does."""
    started_s = time.monotonic()
    sessions = [stream.session for stream, _ in images]
    predictions = push_together(sessions, [image.pixels for _, image in images])
    for stream, _ in images:
        stream.inference_ms = 1e3 * (time.monotonic() - started_s)
    return predictions
