# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a stream on a synthetic world."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from infinitevggt_core.evaluation.cloud import align, cloud_errors
from infinitevggt_core.evaluation.similarity import Array
from infinitevggt_core.evaluation.tally import FrameMetrics, StreamTally
from infinitevggt_core.evaluation.trajectory import trajectory_errors
from infinitevggt_core.model import geometry
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.preprocess import PixelMap
from infinitevggt_core.streaming.session import StreamSession
from infinitevggt_core.tracking import CameraView, LocatedView, TrackedFrame, TrackedStream
from infinitevggt_core.tracking.tracked_frame import LOST, NETWORK
from infinitevggt_core.worlds import World, WorldFrame

SURFACE_POINTS = 150_000
SEEN_M = 0.05
"""Surface points nearer than this to an observed point belong to the completion of a map."""
RATE_HZ = 30.0
"""Images per second of the stamps."""
Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class WorldReport:
    """Errors of one stream."""

    seed: int
    frames: int
    errors: Values
    """TrajectoryErrors, DepthErrors and CloudErrors by name, those of depth with prefix "depth_".

    scale_ratio: scale of the path / scale of the depth, 1 if they agree. fps: frames per second of
    the network, its memory and the tracking. memory_mb: size of the network's state. With tracking:
    ate_percent_corrected and rotation_deg_median_corrected, of the poses as known at the end of the
    stream; loops; lost: share of the frames whose pose the images do not determine.
    """
    trivial: Values
    """Errors of trivial predictions: identity (a static camera), constant_velocity (straight
    ahead), and one depth everywhere."""


def evaluate_world(
    world: World,
    frames: int,
    size: tuple[int, int],
    session: StreamSession,
    progress: Callable[[], object] = lambda: None,
    *,
    tracking: bool = False,
) -> WorldReport:
    """Stream the first frames of a world, `size` (H, W) px, through a session, which is reset
    first.

    progress: called once per frame. tracking: poses and depth are those of the tracking beside the
    network, which gets the images in its own size; else images have the network's size.
    """
    if tracking:
        return _evaluate_tracking(world, frames, size, session, progress)
    session.reset()
    record = StreamRecord(world, frames)
    seconds = 0.0
    device = session.model.device
    for frame in rendered_frames(world, frames, size, device):
        finish(device)
        started = time.perf_counter()
        prediction = session.push(frame.image)
        finish(device)
        seconds += time.perf_counter() - started
        record.add(frame, prediction)
        progress()
    errors = record.errors()
    errors |= {"fps": frames / seconds, "memory_mb": session.memory_bytes / 1e6}
    return WorldReport(world.seed, frames, errors, record.trivial())


def _evaluate_tracking(
    world: World,
    frames: int,
    size: tuple[int, int],
    session: StreamSession,
    progress: Callable[[], object],
) -> WorldReport:
    session.reset()
    record, stream = StreamRecord(world, frames), TrackedStream(background=False)
    tracked: list[TrackedFrame] = []
    device, seconds = session.model.device, 0.0
    for index, frame in enumerate(rendered_frames(world, frames, size, device)):
        picture = (frame.image.permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        finish(device)
        started = time.perf_counter()
        pixels, pixel_map = session.model.preprocess(picture)
        prediction = session.push(pixels)
        located = stream.locate(
            CameraView(
                gray=np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8),
                intrinsics=as_array(frame.intrinsics),
                depth=prediction.depth[0].float().cpu().numpy(),
                depth_from_gray=pixel_map.model_intrinsics(np.eye(3)),
                prior=as_array(prediction.camera_from_world[0]),
                stamp_s=index / RATE_HZ,
            )
        )
        seconds += time.perf_counter() - started
        tracked.append(located.frame)
        record.add_located(frame, located, pixel_map)
        progress()
    corrected = [stream.mapper.camera_from_map(frame) for frame in tracked]
    errors = record.errors() | record.corrected_errors(corrected)
    errors |= {"fps": frames / seconds, "memory_mb": session.memory_bytes / 1e6}
    errors |= {
        "loops": float(stream.mapper.loops),
        "lost": float(np.mean([frame.state in (NETWORK, LOST) for frame in tracked])),
    }
    stream.close()
    return WorldReport(world.seed, frames, errors, record.trivial())


def rendered_frames(
    world: World, frames: int, size: tuple[int, int], device: torch.device
) -> Iterator[WorldFrame]:
    """Yield the frames, rendered on the device of the network."""
    return world.sequence(frames, *size, device=str(device))


def finish(device: torch.device) -> None:
    """Wait for the device, so that the clock measures its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class StreamRecord:
    """Predictions and truth of a world's frames."""

    def __init__(self, world: World, frames: int) -> None:
        self.world = world
        self._tally = StreamTally(frames)

    def add(self, frame: WorldFrame, prediction: Prediction) -> None:
        depth = known(frame.depth)
        points = geometry.world_points(depth.double(), frame.camera_from_world, frame.intrinsics)
        self._tally.add(
            FrameMetrics(
                as_array(prediction.camera_from_world[0]),
                prediction.depth[0].float().cpu().numpy(),
                as_array(prediction.world_points()[0]),
            ),
            FrameMetrics(as_array(frame.camera_from_world), depth.cpu().numpy(), as_array(points)),
        )

    def add_located(self, frame: WorldFrame, located: LocatedView, pixel_map: PixelMap) -> None:
        """Add a view that was tracked; the truth is cut to the network's image."""
        true_depth = pixel_map.to_model(known(frame.depth).float().cpu().numpy())
        pose, true_pose = located.camera_from_map, as_array(frame.camera_from_world)
        matrix = pixel_map.model_intrinsics(located.intrinsics)
        true_matrix = pixel_map.model_intrinsics(as_array(frame.intrinsics))
        self._tally.add(
            FrameMetrics(pose, located.depth, _points(located.depth, pose, matrix)),
            FrameMetrics(true_pose, true_depth, _points(true_depth, true_pose, true_matrix)),
        )

    def corrected_errors(self, corrected: list[Array | None]) -> Values:
        """Return the errors of corrected poses (3, 4); None: the pose stays as it was."""
        live, truth = self._tally.poses
        pairs = zip(corrected, live, strict=True)
        poses = np.stack([before if pose is None else pose for pose, before in pairs])
        errors = trajectory_errors(poses, truth)
        return {
            "ate_percent_corrected": errors.ate_percent,
            "rotation_deg_median_corrected": errors.rotation_deg_median,
        }

    def errors(self) -> Values:
        found, truth = self._tally.poses
        cloud, seen = self._tally.points
        surface, normals = (as_array(x) for x in self.world.surface(SURFACE_POINTS))
        in_view = cKDTree(seen).query(surface, distance_upper_bound=SEEN_M)[0] < SEEN_M
        surface, normals = surface[in_view], normals[in_view]
        path, depth = trajectory_errors(found, truth), self._tally.depth.errors()
        return {
            **asdict(path),
            **named("depth", asdict(depth)),
            "scale_ratio": path.scale / max(depth.scale, 1e-12),
            **asdict(cloud_errors(align(cloud, seen, surface), surface, normals)),
        }

    def trivial(self) -> Values:
        truth = self._tally.poses[1]
        still = np.broadcast_to(np.eye(3, 4), truth.shape)
        ahead = still.copy()
        ahead[:, 2, 3] = -np.arange(len(truth))
        standing = trajectory_errors(still, truth)
        return {
            "ate_percent_identity": standing.ate_percent,
            "ate_percent_constant_velocity": trajectory_errors(ahead, truth).ate_percent,
            "rotation_deg_median": standing.rotation_deg_median,
            **named("depth", asdict(self._tally.depth.trivial())),
        }


def _points(depth: NDArray[np.float32], pose: Array, matrix: Array) -> Array:
    """Return the pixels (H, W, 3) of a depth map in the world."""
    tensors = (torch.from_numpy(np.asarray(part, np.float64)) for part in (depth, pose, matrix))
    return as_array(geometry.world_points(*tensors))


def known(depth: Tensor) -> Tensor:
    """Return a depth map with NaN where there is none: in the sky."""
    return depth.masked_fill(depth == 0, torch.nan)


def as_array(tensor: Tensor) -> Array:
    return tensor.detach().double().cpu().numpy()


def named(prefix: str, values: Values) -> Values:
    return {f"{prefix}_{name}": value for name, value in values.items()}


def mean_of(values: list[Values]) -> Values:
    return {name: float(np.mean([row[name] for row in values])) for name in values[0]}
