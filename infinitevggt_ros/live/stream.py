# SPDX-License-Identifier: Apache-2.0
"""A stream of plain images: network, tracking and fused map, without ROS."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from infinitevggt_core import (
    MapConfig,
    MemoryConfig,
    PixelMap,
    PointMap,
    Prediction,
    StreamSession,
)
from infinitevggt_core.io.even_sample import EvenSample
from infinitevggt_core.io.plain_state import with_arrays
from infinitevggt_core.mapping.view import View
from infinitevggt_core.model import geometry
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.tracking import (
    Keyframe,
    KeyframeListeners,
    Mapper,
    TrackedPose,
    Tracker,
    TrackingConfig,
)
from infinitevggt_core.tracking.tracked_frame import LOST
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.export.keyframe import ExportKeyframe, KeyframeSink
from infinitevggt_ros.input.calibration import Calibration, CameraInfo, read_calibration
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.live.sources import SourceFrame
from infinitevggt_ros.map_axes import MAP_FROM_WORLD
from infinitevggt_ros.stream.snapshot import StreamSnapshot
from infinitevggt_ros.stream.state_file import read_state

RECENT = 40
"""Images kept for keyframes that are made of an earlier image."""
DISAGREEING = 1.3
"""Ratio of focal lengths, given to predicted, above which a calibration is doubted."""
MOST_POSES = 50_000
"""Poses kept of a run; of a longer one those of every second image, every fourth and so on."""
FRAMES_TO_JUDGE = 10
"""Number of images after which the calibration is compared with the prediction."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LiveFrame:
    """Result of one image. World and unit are those of the map."""

    stamp_ns: int
    rgb: NDArray[np.uint8]
    """Rectified image (H, W, 3)."""
    camera_matrix: Floats
    """K (3, 3) of the rectified image, px."""
    camera_from_map: Floats
    """Pose (3, 4), OpenCV axes."""
    depth: NDArray[np.float32]
    """Depth (h, w) at the resolution of the network."""
    depth_matrix: Floats
    """K (3, 3) of the depth map, px."""
    confidence: NDArray[np.float32]
    """Confidence (h, w) of the depth, above 1."""
    colors: NDArray[np.float32]
    """Image (h, w, 3) that the network saw, RGB in [0, 1]."""
    pixel_map: PixelMap
    """Relation between the pixels of the image and those of the depth map."""
    state: str
    """State of the tracking: tracking, degraded, network or lost."""
    inference_ms: float
    latency_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Image that the network has seen, before it is placed in the map."""

    stamp_ns: int
    rgb: NDArray[np.uint8]
    camera_matrix: Floats
    camera_from_world: Floats
    depth: NDArray[np.float32]
    depth_matrix: Floats


class LiveStream:
    """Processes images one after the other; `process` computes and returns."""

    def __init__(
        self,
        model: VGGT,
        memory: MemoryConfig,
        map_config: MapConfig,
        *,
        info: CameraInfo | None = None,
        sink: KeyframeSink | None = None,
        say: Callable[[str], None] = lambda _: None,
        background: bool = True,
        localization_only: bool = False,
    ) -> None:
        """info: calibration; None to use the predicted intrinsics. background: search for loops in
        a thread. localization_only: find the camera in a loaded map and leave that map as it is."""
        self.session = StreamSession(model, memory)
        self._memory = memory
        self.map = PointMap(map_config)
        self.mapper = Mapper(background=background, read_only=localization_only)
        self._localization_only = localization_only
        self._tracker = Tracker(
            TrackingConfig(focal="known" if info else "refine"),
            background=background,
            listener=KeyframeListeners(self.mapper, self),
        )
        self._info, self._sink, self._say = info, sink, say
        self._calibration: tuple[tuple[int, int], Calibration] | None = None
        self._recent: OrderedDict[int, _Seen] = OrderedDict()
        self._window: dict[int, _Seen] = {}  # by the keyframes of the adjustment's window
        self._poses: EvenSample[tuple[int, TrackedPose]] = EvenSample(MOST_POSES)
        self._focal_ratios: list[float] = []
        self._guess: Floats | None = None
        self._frame = 0

    def start_in(self, path: Path) -> None:
        """Continue in the world that a node has saved; the next image may come from anywhere in it.

        Raises CommandError if the file does not fit this stream.
        """
        try:
            state = read_state(path)
            _require_own_axes(state)
            tracked = with_arrays(state["pose_source"])
            self.session.load_state_dict(state["session"])
            self.session.configure(self._memory)
            self.map.load_state_dict(state["map"])
            self.mapper.load_state_dict(tracked["mapper"], resume=False)
            # after the mapper: the keyframes of the window become places of the map
            self._tracker.load_state_dict(tracked["tracker"], resume=False)
        except (OSError, ValueError) as error:
            raise CommandError(f"{path} cannot be used: {error}") from error
        except (KeyError, TypeError, RuntimeError, AttributeError, IndexError) as error:
            raise CommandError(f"{path} is not the state of a tracked camera: {error}") from error
        self.mapper.set_read_only(self._localization_only)

    def process(self, frame: SourceFrame) -> LiveFrame:
        """Return pose and depth of the next image and add its points to the map.

        Raises ValueError for an image of another size.
        """
        began_s = time.perf_counter()
        size = frame.rgb.shape[0], frame.rgb.shape[1]
        calibration = self._calibration_of(size)
        rgb = frame.rgb if calibration is None else calibration.rectified(frame.rgb)
        pixels, pixel_map = self.session.model.preprocess(rgb)
        prediction = self.session.push(pixels)
        inferred_s = time.perf_counter()
        predicted = prediction.intrinsics[0].double().cpu().numpy()
        if calibration is None:
            if self._guess is None:  # one guess for all images, which the tracking refines
                self._guess = pixel_map.camera_intrinsics(predicted)
            camera_matrix = self._guess
        else:
            camera_matrix = calibration.matrix
            self._judge(pixel_map.model_intrinsics(camera_matrix)[0, 0] / predicted[0, 0])
        seen = _Seen(
            frame.stamp_ns,
            rgb,
            camera_matrix,
            prediction.camera_from_world[0].double().cpu().numpy(),
            prediction.depth[0].float().cpu().numpy(),
            pixel_map.model_intrinsics(camera_matrix),
        )
        live = self._placed(seen, prediction, pixels, pixel_map)
        self._fuse(live, pixels)
        inference_ms = 1e3 * (inferred_s - began_s)
        latency_ms = 1e3 * (time.perf_counter() - began_s)
        return replace(live, inference_ms=inference_ms, latency_ms=latency_ms)

    def finish(self) -> None:
        """End the trajectory, and wait until all keyframes are in the map's graph."""
        self._tracker.finish()
        self.mapper.finish()

    def close(self) -> None:
        """Stop the threads."""
        self._tracker.close()
        self.mapper.close()

    def trajectory(self) -> tuple[list[int], Floats]:
        """Return the stamps (ns) and the poses camera_from_map (N, 3, 4) as known now."""
        stamps_ns, poses = [], []
        for stamp_ns, tracked in self._poses.items:
            pose = self.mapper.camera_from_map(tracked)
            if pose is not None and np.isfinite(pose).all():
                stamps_ns.append(stamp_ns)
                poses.append(pose)
        return stamps_ns, np.array(poses).reshape(-1, 3, 4)

    def snapshot(self, live: LiveFrame | None) -> StreamSnapshot:
        """Return plain values for a status. live: result of the latest image; None if refused."""
        session, memory = self.session, self.session.memory
        calibration = self._calibration[1] if self._calibration else None
        return StreamSnapshot(
            frame_index=session.frame_index,
            map_id=0,
            last_reset="",
            error="",
            scale_source="none",
            scale=1.0,
            metres_per_unit=math.nan,
            metres_per_unit_sigma=math.nan,
            is_metric=False,
            waiting_for="",
            pose_state=live.state if live else "",
            gravity_source="none",
            first_camera_tilt=0.0,
            policy=memory.policy,
            total_budget=memory.total_budget,
            budget=session.budget,
            limit_mb=memory.limit_mb,
            stored_tokens=tuple(session.stored_tokens),
            memory_bytes=session.memory_bytes,
            eager_because=session.eager_because,
            map_points=len(self.map),
            device=str(session.model.device),
            is_calibrated=calibration is not None,
            is_rectified=calibration is not None and calibration.maps is not None,
            inference_s=live.inference_ms / 1e3 if live else math.nan,
        )

    # keyframes, as the tracker hands them over

    def on_new_keyframe(self, keyframe: Keyframe) -> None:
        """Take the newest keyframe."""
        seen = self._recent.get(keyframe.frame)
        if seen is not None:
            self._window[keyframe.index] = seen
            self._put(keyframe, seen)

    def on_keyframe_left_window(self, keyframe: Keyframe) -> None:
        """Take a keyframe whose points are final."""
        seen = self._window.pop(keyframe.index, None)
        if seen is not None:
            self._put(keyframe, seen)

    def on_window(self, poses: dict[int, Floats]) -> None:
        """Ignore adjusted poses: the map has them."""

    def _put(self, keyframe: Keyframe, seen: _Seen) -> None:
        if self._sink is None:
            return
        depth = seen.depth * np.float32(keyframe.depth_scale)
        of = ExportKeyframe.of(keyframe, seen.stamp_ns, seen.rgb.shape, depth, seen.depth_matrix)
        self._sink.put(of, seen.rgb)

    def _placed(
        self, seen: _Seen, prediction: Prediction, pixels: torch.Tensor, pixel_map: PixelMap
    ) -> LiveFrame:
        """Track the image; return it with its pose, depth and intrinsics in the map."""
        self._recent[self._frame] = seen
        self._frame += 1
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        tracked = self._tracker.track(
            np.asarray(cv2.cvtColor(seen.rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8),
            seen.camera_matrix,
            pixel_map.to_camera(seen.depth),
            seen.camera_from_world,
            stamp_s=seen.stamp_ns / 1e9,
        )
        mapped = self.mapper.place(tracked)
        self._poses.add((seen.stamp_ns, tracked.without_points()))
        unit = np.float32(tracked.depth_scale * mapped.unit)
        return LiveFrame(
            stamp_ns=seen.stamp_ns,
            rgb=seen.rgb,
            camera_matrix=tracked.intrinsics,
            camera_from_map=mapped.camera_from_map,
            depth=seen.depth * unit,
            depth_matrix=pixel_map.model_intrinsics(tracked.intrinsics),
            confidence=np.asarray(prediction.depth_confidence[0].float().cpu().numpy()),
            colors=np.ascontiguousarray(pixels.permute(1, 2, 0).float().cpu().numpy()),
            pixel_map=pixel_map,
            state=tracked.state if mapped.located else LOST,
            inference_ms=math.nan,
            latency_ms=math.nan,
        )

    def _fuse(self, live: LiveFrame, pixels: torch.Tensor) -> None:
        if live.state == LOST or self._localization_only:
            return
        depth = torch.from_numpy(live.depth)
        pose = torch.from_numpy(live.camera_from_map).float()
        matrix = torch.from_numpy(live.depth_matrix).float()
        points = geometry.world_points(depth, pose, matrix)
        self.map.insert(
            points, pixels, torch.from_numpy(live.confidence), View(depth, pose, matrix)
        )

    def _calibration_of(self, size: tuple[int, int]) -> Calibration | None:
        if self._info is None:
            return None
        if self._calibration is None or self._calibration[0] != size:
            try:
                found = read_calibration(self._info, size, is_rectified=False)
            except BadInputError as error:
                raise CommandError(f"the calibration does not fit the images: {error}") from error
            if found is None:
                self._info = None
                return None
            self._calibration = size, found
        return self._calibration[1]

    def _judge(self, ratio: float) -> None:
        """Say once that the calibration and the images disagree."""
        if len(self._focal_ratios) >= FRAMES_TO_JUDGE:
            return
        self._focal_ratios.append(ratio)
        if len(self._focal_ratios) == FRAMES_TO_JUDGE:
            median = float(np.median(self._focal_ratios))
            if max(median, 1 / median) > DISAGREEING:
                self._say(
                    f"the calibration has {median:.2f} times the focal length that the images "
                    "suggest: is it that of this camera?"
                )


def _require_own_axes(state: dict[str, Any]) -> None:
    """Raise ValueError if the map of a node was moved, levelled or scaled: a run does neither."""
    matrix = state["map_from_world"].numpy().reshape(4, 4)
    if float(state["scale"]) != 1.0 or not np.allclose(matrix, MAP_FROM_WORLD):
        raise ValueError(
            "its map was scaled to metres, levelled or placed, which the node alone follows: start "
            "the node with state.path and pose.localization_only"
        )
