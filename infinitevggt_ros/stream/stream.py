# SPDX-License-Identifier: Apache-2.0
"""A stream: an image in, its result out, and a map that grows."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from std_msgs.msg import Header

from infinitevggt_core import PointMap, Prediction, StreamSession
from infinitevggt_core.mapping.view import View
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_core.model import geometry
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_core.tracking.tracked_frame import LOST
from infinitevggt_ros.errors import Warn
from infinitevggt_ros.input.image_gate import BadInputError, DifferentImageError, ImageGate
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.input.network_image import NetworkImage
from infinitevggt_ros.input.robot import Robot, UnknownRobot
from infinitevggt_ros.map_axes import MAP_FROM_WORLD, MapFromWorld, inverted, planar
from infinitevggt_ros.output.covariance import UNKNOWN, Covariance
from infinitevggt_ros.output.frame_result import FramePose, FrameResult
from infinitevggt_ros.output.markers import TrackedScene
from infinitevggt_ros.output.trajectory import Trajectory
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.pose_messages import pose_from_matrix
from infinitevggt_ros.stream.gravity import Gravity, Vector
from infinitevggt_ros.stream.keyframe_map import KeyframeMap
from infinitevggt_ros.stream.keyframe_pictures import KeyframePictures, KeyframeRun
from infinitevggt_ros.stream.map_grid import MapGrid
from infinitevggt_ros.stream.pose_source import (
    EarlyPose,
    NetworkPose,
    PoseEstimate,
    PoseSource,
)
from infinitevggt_ros.stream.rig_pose import RigPose
from infinitevggt_ros.stream.scale.stream_scale import StreamScale
from infinitevggt_ros.stream.snapshot import StreamSnapshot
from infinitevggt_ros.stream.state_file import PeriodicState, read_state
from infinitevggt_ros.stream.tracking_pose import TrackingPose
from infinitevggt_ros.topics import frame_name


@dataclass(frozen=True, slots=True)
class AdmittedImage:
    """An image that may enter the stream."""

    received: Received
    network: NetworkImage
    up: Vector | None
    """[3] unit vector in the optical frame, for the first image of a map; None if unknown."""
    map_id: int
    """Map at the time of admission."""
    restart: str = ""
    """Reason why the stream restarts with this image; empty if it does not."""


class Stream:
    """One world: the session of the network, the map, its scale and axes, and the trajectories.

    Computes only: the node publishes what `process` returns. Belongs to the worker's thread.
    """

    def __init__(
        self,
        session: StreamSession,
        settings: Settings,
        warn: Warn,
        robot: Robot | None = None,
        *,
        name: str = "",
        cameras: Collection[str] = ("",),
        now_ns: Callable[[], int] = lambda: 0,
        background: bool = False,
    ) -> None:
        """Start an empty world.

        Args:
            session: Session of the network.
            settings: All parameters of the node.
            warn: Called with warnings.
            robot: Poses of the robot's own frames; unknown by default.
            name: Name of the world; empty if there is one.
            cameras: Names of the cameras in this world.
            now_ns: Returns the time of the node's clock; 0 while it is unknown.
            background: Adjust and close loops in threads; else at once, which is repeatable.
        """
        self.session = session
        self.settings = settings
        self.name = name
        self.map_frame = settings.tf.map_frame_of(name)
        self.map = PointMap(settings.map)
        self.map_id = 0
        self.map_version = 0
        """Number of times the map was emptied or replaced."""
        self.placement_id = 0
        """Number of times `set_pose` moved the map."""
        self.last_reset = ""
        self.inference_s = 0.0
        self.placement = MapFromWorld()
        self.is_metric = False
        """True if lengths are metres."""
        self.trajectories = {camera: Trajectory() for camera in cameras}
        """Poses of the optical frame in the map, by camera."""
        self.latest: FrameResult | None = None
        """Latest result in this map."""
        self.latest_of: dict[str, FrameResult] = {}
        """Latest result of each camera in this map."""
        self.latest_estimate: PoseEstimate | None = None
        """Pose of the latest image, as its source gave it."""
        self._robot = robot or UnknownRobot()
        self.scale = StreamScale(settings, self._robot, warn)
        self.grid = MapGrid(settings.grid)
        """Occupancy of the floor, for Nav2."""
        self.gravity = Gravity(settings.gravity, settings.tf.base_frame, self._robot)
        self._background = background
        self._pictures = KeyframePictures(settings.output.keyframe_images)
        self.pose_source: PoseSource = self._new_pose_source()
        self._keyframes = KeyframeMap()
        self._warn = warn
        self._now_ns = now_ns
        self._gate = ImageGate(settings.input.restart_after, settings.time)
        self._unmeasured: FrameResult | None = None
        self._periodic = PeriodicState(
            self.path_for_stream(settings.state.file), settings.state.period
        )
        self._saved_frame = 0
        self._device = session.model.device

    def process(self, received: Received) -> FrameResult:
        """Return the result of the next image. Raises BadInputError if it cannot be used."""
        try:
            admitted = self.admit(received)
        except BadInputError as problem:
            self.refuse(received, problem)
            raise
        prediction = self.predict(admitted)
        self.accept(admitted)
        return self.complete(admitted, prediction)

    def admit(self, received: Received) -> AdmittedImage:
        """Return an image if it may enter. Changes nothing. Raises BadInputError."""
        converter = received.camera.converter
        rgb = converter.rgb(received.message)
        size = (rgb.shape[0], rgb.shape[1])
        restart = self._gate.check(received.stamp_ns, size, self._now_ns(), received.camera.name)
        config = self.session.model.config
        width = self.settings.model.image_size or config.img_size
        image = converter.prepare(rgb, width, config.patch_size)
        if self.session.frame_index and not restart:
            self._check_shape(image)
            return AdmittedImage(received, image, None, self.map_id)
        up = self.gravity.up(received.header)
        return AdmittedImage(received, image, up, self.map_id, restart)

    def refuse(self, received: Received, problem: Exception) -> None:
        """Record an image that `admit` refused: several different ones restart the stream."""
        if isinstance(problem, DifferentImageError):
            self._gate.refuse(received.stamp_ns, received.camera.name)

    def restart_for(self, admitted: AdmittedImage) -> None:
        """Restart the stream if the image does that and it was not done."""
        if admitted.restart and admitted.map_id == self.map_id:
            self.restart(admitted.restart)
            text = f"{admitted.restart}: the stream starts again, map {self.map_id}"
            self._warn("restart", text)

    def follow(self, admitted: AdmittedImage) -> FramePose | None:
        """Return the pose of an image before the network has seen it; None if it is unknown yet.

        May be left out. `complete` returns the same pose.
        """
        self.restart_for(admitted)
        self.measure_scale()
        self._apply_scale()
        early = self.pose_source.follow(admitted.received, admitted.network)
        return None if early is None else FramePose(**self._pose_values(admitted, early))

    def predict(self, admitted: AdmittedImage) -> Prediction:
        """Return the network's prediction, [1, ...]. Raises BadInputError."""
        self.restart_for(admitted)
        started_s = time.monotonic()
        try:
            prediction = self.session.push(admitted.network.pixels)
        except ValueError as error:  # refused before it touched the stream
            raise BadInputError("memory", str(error)) from error
        self.inference_s = time.monotonic() - started_s
        return prediction

    def accept(self, admitted: AdmittedImage) -> None:
        """Record an image that has entered the network: the next one must be newer."""
        received, camera = admitted.received, admitted.received.camera.name
        self._gate.admit(received.stamp_ns, admitted.network.pixel_map.camera_size, camera)
        self._warn_of_delay(received)

    def complete(self, admitted: AdmittedImage, prediction: Prediction) -> FrameResult:
        """Return the result of an image with its prediction, after adding it to the world.

        The next image may have entered the network already.
        """
        received, camera = admitted.received, admitted.received.camera.name
        self.measure_scale()
        self._apply_scale()
        calibration = admitted.network.calibration
        depth_m = self.scale.depth_at(camera, received.stamp_ns, calibration)
        estimate = self.pose_source.locate(received, admitted.network, prediction, depth_m)
        self.latest_estimate = estimate
        if admitted.up is not None and not self._keeps_map:
            rotation = estimate.camera_from_world[:, :3]
            self.placement = self.placement.levelled(rotation.T @ admitted.up)
        result = self._result(admitted, prediction, estimate)
        if not self.settings.pose.localization_only:
            self._follow_correction(estimate.keyframes)
            self._keep_keyframe(admitted, estimate, result)
            if estimate.state != LOST:  # a keyframe enters the map once it is placed by a loop
                self._fuse(admitted.network, result)
        if result.is_placed:
            self._extend_trajectory(result)
            self._extend_grid(result, estimate)
        self.latest = self.latest_of[camera] = self._unmeasured = result
        return result

    def measure_scale(self) -> None:
        """Measure the scale with the latest frame, if that was not done; it may wait for /tf."""
        result, self._unmeasured = self._unmeasured, None
        if result is not None and not self._keeps_scale:
            self.scale.observe(result, self.latest_of.values())

    def configure(self, settings: Settings) -> None:
        """Use other settings from the next frame on.

        Raises ValueError or RuntimeError if they cannot work; then configure the previous ones.
        """
        self.session.configure(settings.memory)
        points = len(self.map)
        self.map.configure(settings.map)
        if len(self.map) < points:  # other voxels: it is empty
            self.map_version += 1
        self._gate.time = settings.time
        self.pose_source.set_localization_only(settings.pose.localization_only)
        self._pictures.configure(settings.output.keyframe_images)
        self.settings = settings

    def restart(self, why: str) -> None:
        """Start again with the next image: in a new map, or anywhere in a map that is kept."""
        if not self._keeps_map:
            self.reset(why)
            return
        self.session.reset()
        self._gate.reset()
        self.pose_source.relocalise()
        self._robot.forget_time()
        self._clear_results()
        self.map_id += 1
        self.last_reset = why

    def reset(self, why: str) -> None:
        """Start a new map with the next image."""
        self.session.reset()
        self.map.reset()
        self._gate.reset()
        self.scale.reset()
        self.pose_source.reset()
        self._keyframes.clear()
        self._pictures.clear()
        self.grid.reset()
        self._robot.forget_time()
        self.placement, self.is_metric = MapFromWorld(), False
        for trajectory in self.trajectories.values():
            trajectory.clear()
        self._clear_results()
        self._saved_frame = -1  # the frame of this number belongs to another map
        self.map_id += 1
        self.map_version += 1
        self.last_reset = why

    def set_pose(self, map_from_body: NDArray[np.float64], *, is_planar: bool = False) -> str:
        """Move the map so that the robot's latest pose becomes `map_from_body` (4 x 4).

        The body is `tf.base_frame` if its tree is known and lengths are metres, else the camera
        with x forward and z up. is_planar: use x, y and the heading only, so that the map stays
        level and at its height.

        Returns the frame that was placed. Raises ValueError if no image has been placed yet.
        """
        if self.latest is None or not self.latest.is_placed:
            raise ValueError("the stream has no pose yet")
        frame, old_from_body = self._body_pose(self.latest)
        if is_planar:
            map_from_body = planar(map_from_body, old_from_body)
        new_from_old = map_from_body @ np.linalg.inv(old_from_body)
        self.placement = self.placement.moved(new_from_old)
        for trajectory in self.trajectories.values():
            trajectory.transform(new_from_old)
        self._clear_results()
        self.map.mark_all_changed()
        self.grid.reset()
        self.map_version += 1
        self.placement_id += 1
        return frame

    def follow_corrections(self) -> None:
        """Bring trajectories and map up to the latest loop closure, without another image."""
        if not self.settings.pose.localization_only:
            self._follow_correction(self.pose_source.corrections(), now=True)

    def keyframe_run(self) -> KeyframeRun:
        """Return the keyframes with pictures, in the map. Raises ValueError if none is kept."""
        if self.settings.pose.source == "network":
            raise ValueError("there are no keyframes without pose.source tracking")
        if not self.settings.output.keyframe_images:
            raise ValueError(
                "the node keeps no pictures: set output.keyframe_images, or use "
                "`infinitevggt run SOURCE --out RUN` and `infinitevggt export RUN`"
            )
        axes = MAP_FROM_WORLD[:3, :3].T
        place = self.placement
        placed = Similarity3(np.array(place.scale), axes @ place.rotation, axes @ place.origin)
        poses = self.pose_source.keyframes()
        return self._pictures.run({index: placed @ pose for index, pose in poses.items()})

    def path_for_stream(self, path: Path) -> Path:
        """Return the stream's own file where there are several streams; else the path itself."""
        return path.with_stem(f"{path.stem}_{self.name}") if self.name and path.name else path

    @property
    def is_corrupted(self) -> bool:
        """True if the network was interrupted in a frame: only a reset helps."""
        return self.session.is_interrupted

    @property
    def error(self) -> str:
        """Failure beside the images; empty if there is none."""
        return self._periodic.error

    @property
    def awaits_scale(self) -> bool:
        """True if outputs wait for the scale."""
        return self.settings.scale.source != "none" and not self.is_metric

    def scene(self) -> TrackedScene | None:
        """Return keyframes, loops and tracked points; None if there are no keyframes."""
        estimate, poses = self.latest_estimate, self.pose_source.keyframes()
        if estimate is None or not poses:
            return None
        loops = [
            (poses[one].translation, poses[other].translation)
            for one, other in self.pose_source.loops()
            if one in poses and other in poses
        ]
        return TrackedScene(
            keyframes=np.stack([pose.rigid()[:3] for _, pose in sorted(poses.items())]),
            loops=np.array(loops).reshape(-1, 2, 3),
            points=estimate.points,
            position=inverted(estimate.camera_from_world)[:3, 3],
            covariance=estimate.covariance[:3, :3],
        )

    def snapshot(self, camera: str) -> StreamSnapshot:
        """Return plain values for the status of one camera."""
        session, latest = self.session, self.latest_of.get(camera)
        metres_per_unit, sigma = self.scale.estimate
        return StreamSnapshot(
            frame_index=session.frame_index,
            map_id=self.map_id,
            last_reset=self.last_reset,
            error=self.error,
            scale_source=self.settings.scale.source,
            scale=self.placement.scale,
            metres_per_unit=metres_per_unit,
            metres_per_unit_sigma=sigma,
            is_metric=self.is_metric,
            waiting_for=self.scale.progress if self.awaits_scale else "",
            pose_state=latest.pose_state if latest else "",
            gravity_source=self.settings.gravity.source,
            first_camera_tilt=self.placement.tilt,
            policy=session.memory.policy,
            total_budget=session.memory.total_budget,
            budget=session.budget,
            limit_mb=session.memory.limit_mb,
            stored_tokens=tuple(session.stored_tokens),
            memory_bytes=session.memory_bytes,
            eager_because=session.eager_because,
            map_points=len(self.map),
            device=str(session.model.device),
            is_calibrated=latest is not None and latest.is_calibrated,
            is_rectified=latest is not None and latest.is_rectified,
            inference_s=self.inference_s,
        )

    def sleep(self) -> None:
        """Free the device: weights and memory move to the host."""
        if self._device.type != "cpu":
            self.session.to("cpu")

    def wake(self) -> None:
        """Return to the device. Raises RuntimeError or ValueError if it has no room."""
        if self._device.type != "cpu":
            self.session.to(self._device)

    @property
    def computes_beside_host(self) -> bool:
        """True if the network computes an image while the host does something else."""
        return self.session.model.device.type == "cuda"

    @property
    def is_saving_due(self) -> bool:
        """True if `save_periodic` will write, if anything is unsaved."""
        return self.latest is not None and self._periodic.is_due

    def save_periodic(self) -> None:
        """Begin to write `state.path` if that is due."""
        if self.is_saving_due:
            self.begin_saving()

    def begin_saving(self) -> None:
        """Begin to write `state.path`, if there is one and something is unsaved."""
        is_kept = self.settings.pose.localization_only
        if self.settings.state.path and self._is_unsaved and not is_kept:
            self._periodic.write(self.state_dict())
            self._saved_frame = self.session.frame_index

    def save(self) -> None:
        """Write `state.path` and wait until that is done. Raises OSError."""
        self._periodic.wait()
        self.begin_saving()
        self._periodic.wait()
        if self.error:
            raise OSError(self.error)

    def close(self) -> None:
        """Save what is unsaved and stop the pose source, at the end of the thread."""
        try:
            self.save()
        except OSError as error:
            self._warn("state", f"the stream is lost, it could not be saved: {error}")
        self.pose_source.close()

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot between two frames: copies of memory, map and trajectories."""
        self.measure_scale()
        return {
            "session": self.session.state_dict(),
            "map": self.map.state_dict(),
            "gate": self._gate.state(),
            "map_id": self.map_id,
            "scale": self.placement.scale,
            "measured": self.scale.state(),
            "is_metric": self.is_metric,
            "map_from_world": torch.from_numpy(self.placement.matrix()),
            "pose_source": self.pose_source.state_dict(),
            **self._keyframes.state_dict(),
            "trajectories": {
                camera: trajectory.state_dict() for camera, trajectory in self.trajectories.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any], *, resume: bool = True) -> None:
        """Continue from a snapshot. Raises ValueError and changes nothing if it does not fit.

        resume: the next image follows the last one of the snapshot; else it may come from anywhere.
        """
        session = StreamSession(self.session.model, points=self.session.points)
        restored = PointMap(self.map.config)
        gate = ImageGate(self._gate.restart_after, self._gate.time)
        estimate = ScaleEstimate(self.settings.scale.samples)
        pose_source = self._new_pose_source()
        keyframes = KeyframeMap()
        try:
            scale, map_id = float(state["scale"]), int(state["map_id"])
            matrix = state["map_from_world"].numpy().reshape(4, 4)
            restored.load_state_dict(state["map"])
            gate.restore(state["gate"])
            session.load_state_dict(state["session"])
            session.configure(self.settings.memory)
            factor = float(state["measured"][0])
            estimate.restore(state["measured"][1])
            pose_source.load_state_dict(state["pose_source"], resume=resume)
            keyframes.load_state_dict(state)
            trajectories = {
                camera: self._restored_trajectory(state["trajectories"][camera])
                for camera in self.trajectories
            }
        except KeyError as error:
            raise ValueError(f"the state has no {error}") from error
        except (TypeError, RuntimeError, AttributeError, IndexError) as error:
            raise ValueError(f"not the state of a stream: {error}") from error
        self.session, self.map, self.map_id, self._gate = session, restored, map_id, gate
        self.pose_source.close()
        self.pose_source, self.trajectories = pose_source, trajectories
        self._keyframes = keyframes
        self._pictures.clear()
        self.scale.restore(factor, estimate)
        self.placement = MapFromWorld(matrix[:3, :3].copy(), matrix[:3, 3].copy(), scale)
        self.is_metric = bool(state.get("is_metric", self.scale.is_metric))
        self._clear_results()
        self.grid.reset()
        self.map_version += 1
        self._saved_frame = self.session.frame_index

    def load_world(self, path: Path) -> None:
        """Continue in the world of a file, with images of any time.

        A stream that has begun gives the world a new number. Raises OSError, and ValueError as
        `load_state_dict` does.
        """
        before, has_begun = self.map_id, self.map_id > 0 or self.session.frame_index > 0
        self.load_state_dict(read_state(self.path_for_stream(path)), resume=False)
        self._gate.forget_time()
        if has_begun:
            self.map_id = max(before, self.map_id) + 1

    @property
    def _keeps_map(self) -> bool:
        """True if the camera is to be found in the map that is there."""
        return self.settings.pose.localization_only and not self._keyframes.is_empty

    @property
    def _keeps_scale(self) -> bool:
        """True if the scale is that of a map which stays as it is."""
        return self.settings.pose.localization_only and self.is_metric

    @property
    def _is_unsaved(self) -> bool:
        is_new = self.session.frame_index != self._saved_frame
        return (is_new or bool(self.error)) and not self.is_corrupted

    def _warn_of_delay(self, received: Received) -> None:
        now_ns, limit_s = self._now_ns(), self.settings.time.max_behind
        behind_s = (now_ns - received.stamp_ns) / 1e9
        if now_ns > 0 and behind_s > limit_s:
            self._warn(
                "late stamp",
                f"{received.camera.topic}: the stamp is {behind_s:.1f} s behind the node's clock: "
                "synchronise the clocks, set use_sim_time where a bag is played, or raise "
                "time.max_behind",
            )

    def _body_pose(self, latest: FrameResult) -> tuple[str, NDArray[np.float64]]:
        """Return the name of the body's frame and its latest pose in the map (4 x 4)."""
        base = frame_name(self.settings.tf.base_frame)
        pose = self._robot.pose_of(base, latest.header) if latest.is_metric else None
        if pose is not None:
            return base, latest.pose @ pose
        optical_from_body = np.eye(4)
        optical_from_body[:3, :3] = MAP_FROM_WORLD[:3, :3].T
        return latest.header.frame_id, latest.pose @ optical_from_body

    def _clear_results(self) -> None:
        self.latest = self._unmeasured = self.latest_estimate = None
        self.latest_of.clear()

    def _restored_trajectory(self, state: dict[str, Any]) -> Trajectory:
        restored = Trajectory()
        restored.load_state_dict(state, Header(frame_id=self.map_frame))
        return restored

    def _check_shape(self, image: NetworkImage) -> None:
        """Refuse an image of another shape than those before: the cameras of a rig may differ."""
        shape = self.session.image_shape[1:]
        if shape and tuple(image.pixels.shape) != shape:
            (_, height, width), (_, h, w) = image.pixels.shape, shape
            raise BadInputError(
                "shape",
                f"the network takes it as {width}x{height} px and the images before it as "
                f"{w}x{h} px: cameras that share a world need images of one shape",
            )

    def _apply_scale(self) -> None:
        """Use the measured scale from this frame on.

        The first scale stretches everything about the map's origin: nothing was published yet. A
        later one stretches about the camera, so that no pose jumps.
        """
        if self._keeps_scale:
            return
        factor = self.scale.factor
        if self.scale.is_metric and not self.is_metric:
            self._rescale(factor, self.placement.origin)
            self.is_metric = True
        elif factor != self.placement.scale and self.latest is not None and self.latest.is_placed:
            self._rescale(factor, self.latest.pose[:3, 3])

    def _rescale(self, factor: float, fixed: NDArray[np.float64]) -> None:
        """Stretch the map about one of its points, (3,)."""
        ratio = factor / self.placement.scale
        self.placement = self.placement.rescaled(factor, fixed)
        stretch = np.eye(4)
        stretch[:3, 3] = (1 - ratio) * fixed
        for trajectory in self.trajectories.values():
            trajectory.transform(stretch, ratio)
        self.map.mark_all_changed()

    def _result(
        self, admitted: AdmittedImage, prediction: Prediction, estimate: PoseEstimate
    ) -> FrameResult:
        image = admitted.network
        matrix = image.intrinsics
        intrinsics = (prediction.intrinsics[0] if matrix is None else matrix).double().cpu().numpy()
        if not np.isfinite(intrinsics).all():
            self._warn("intrinsics", "the network gave a field of view of zero: no points from it")
            intrinsics = np.full((3, 3), np.nan)
        if estimate.intrinsics is not None:
            intrinsics = estimate.intrinsics
        return FrameResult(
            **self._pose_values(admitted, estimate),
            colors=np.ascontiguousarray(image.pixels.permute(1, 2, 0).float().cpu().numpy()),
            depth=estimate.depth * np.float32(self.placement.scale),
            confidence=np.asarray(prediction.depth_confidence[0].float().cpu().numpy()),
            intrinsics=intrinsics,
            pixel_map=image.pixel_map,
            calibration=image.calibration,
            is_calibrated=matrix is not None,
            is_rectified=image.is_rectified,
            inference_s=self.inference_s,
            baseline=estimate.baseline,
        )

    def _pose_values(self, admitted: AdmittedImage, estimate: EarlyPose) -> dict[str, Any]:
        """Return the fields of a FramePose."""
        received = admitted.received
        return {
            "camera": received.camera.name,
            "header": received.header,
            "stamp_ns": received.stamp_ns,
            "received_s": received.time_s,
            "camera_from_world": estimate.camera_from_world,
            "covariance": self._covariance(estimate),
            "placement": self.placement,
            "is_metric": self.is_metric,
            "awaits_scale": self.awaits_scale,
            "scale_std": self.scale.relative_std,
            "pose_state": estimate.state,
            "pose_reason": estimate.reason,
            "odom_from_camera": estimate.odom_from_camera,
            "map_id": self.map_id,
            "placement_id": self.placement_id,
        }

    def _covariance(self, estimate: EarlyPose) -> Covariance:
        """Return the covariance of the optical frame in the map.

        A position in an arbitrary unit is unknown. In metres, the scale's deviation adds to it in
        proportion to the distance from the map's origin.
        """
        placement = self.placement
        jacobian = np.zeros((6, 6))
        jacobian[:3, :3] = placement.scale * placement.rotation
        jacobian[3:, 3:] = placement.rotation
        covariance = jacobian @ estimate.covariance @ jacobian.T
        offset = placement.pose(estimate.camera_from_world)[:3, 3] - placement.origin
        if self.is_metric:
            covariance[:3, :3] += self.scale.relative_std**2 * np.outer(offset, offset)
        else:
            covariance[:3, :3] += UNKNOWN * np.eye(3)
        return np.asarray(covariance)

    def _extend_trajectory(self, result: FrameResult) -> None:
        header = Header(stamp=result.header.stamp, frame_id=self.map_frame)
        trajectory = self.trajectories[result.camera]
        before = trajectory.poses[-1].pose.orientation if trajectory.poses else None
        pose = PoseStamped(header=header, pose=pose_from_matrix(result.pose, before))
        trajectory.add(pose, self.settings.output.path_poses)

    def _extend_grid(self, result: FrameResult, estimate: PoseEstimate) -> None:
        """Add a frame to the grid of the floor, which needs metres, and let it follow corrections.

        A frame of a camera that is lost is not added.
        """
        if not result.is_metric:
            return
        min_confidence, floor = self.settings.output.min_confidence, self._floor_of(result)
        if estimate.state != LOST:
            self.grid.add(result, min_confidence, floor)
        self.grid.renew(self._keyframes, self.placement, min_confidence, floor)

    def _floor_of(self, result: FrameResult) -> float | None:
        """Return the height of the floor in the map; None if the robot's base is unknown."""
        base = frame_name(self.settings.tf.base_frame)
        pose = self._robot.pose_of(base, result.header)
        return None if pose is None else float((result.pose @ pose)[2, 3])

    def _fuse(self, image: NetworkImage, result: FrameResult) -> None:
        """Add the depth of a frame to the map."""
        depth = torch.from_numpy(result.depth_in_units)
        camera_from_world = torch.from_numpy(result.camera_from_world).float()
        intrinsics = torch.from_numpy(result.intrinsics).float()
        points = geometry.world_points(depth[None], camera_from_world[None], intrinsics[None])
        view = View(depth, camera_from_world, intrinsics)
        self.map.insert(points[0], image.pixels, torch.from_numpy(result.confidence), view)

    def _new_pose_source(self) -> PoseSource:
        """Return the pose source of the settings."""
        settings = self.settings
        if settings.pose.source == "network":
            return NetworkPose(settings.odometry)
        tracking = TrackingPose(
            settings.tracking,
            background=self._background,
            localization_only=settings.pose.localization_only,
            listener=self._pictures,
        )
        cameras = list(self.trajectories)
        return RigPose(tracking, cameras, self._robot.between) if len(cameras) > 1 else tracking

    def _keep_keyframe(
        self, admitted: AdmittedImage, estimate: PoseEstimate, result: FrameResult
    ) -> None:
        """Keep what the map needs to follow later corrections of a keyframe."""
        reference = estimate.reference
        if not estimate.is_keyframe or reference is None or not result.is_placed:
            return
        depth = estimate.depth / np.float32(reference.unit)
        image = admitted.network
        self._keyframes.add(reference, estimate.camera_from_world, depth, image.pixels, result)
        self._pictures.add(reference.keyframe, result.stamp_ns, image.rgb, depth, result.intrinsics)

    def _follow_correction(self, poses: Mapping[int, Similarity3], *, now: bool = False) -> None:
        """Move the trajectory with its keyframes; make the map anew when that is due, or now."""
        frame = self.session.frame_index
        correction = self._keyframes.correct(poses, self.placement, frame)
        if correction is not None:
            for trajectory in self.trajectories.values():
                trajectory.correct(correction.move)
            self.grid.begin_again()
        if self._keyframes.rebuild(self.map, frame, now=now):
            self.map_version += 1
