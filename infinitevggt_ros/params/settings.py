# SPDX-License-Identifier: Apache-2.0
"""Settings of the node, frozen. Those of the memory and the map are defined in the core."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from infinitevggt_core import MapConfig, MemoryConfig
from infinitevggt_core.config import Options, check_options, option
from infinitevggt_core.io.home import home_expanded
from infinitevggt_core.streaming.onnx_decoder import ENGINES
from infinitevggt_core.tracking.config import TrackingConfig
from infinitevggt_ros.topics import frame_name

DEFAULT_CHECKPOINT = "tiny"
MAX_CELLS = 4000
"""Largest number of cells along a side of the occupancy grid."""
CAMERA_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
"""Names that may be part of a topic."""


@dataclass(frozen=True, slots=True)
class InputSettings:
    """Images and calibrations."""

    cameras: tuple[str, ...] = option(
        ("",),
        "names of a rig's cameras: images of NAME on `NAME/image`, calibration on "
        "`NAME/camera_info`; fewer than two names: one camera, with topics without a name",
    )
    image_transport: str = option(
        "raw",
        "raw: sensor_msgs/Image on `image`; compressed: sensor_msgs/CompressedImage on "
        "`image/compressed`",
        choices=("raw", "compressed"),
    )
    image_reliability: str = option(
        "auto",
        "reliability of the image subscription; auto: as its publishers offer",
        choices=("auto", "reliable", "best_effort"),
    )
    intrinsics: str = option(
        "camera_info",
        "intrinsics that unproject depth. camera_info: the calibration, if there is one; "
        "predicted: the predicted field of view",
        choices=("camera_info", "predicted"),
    )
    image_geometry: str = option(
        "auto",
        "distorted: images are rectified here by the distortion in `camera_info`; rectified: they "
        "are rectified already (P holds); auto: rectified if the topic's name contains rect",
        choices=("auto", "distorted", "rectified"),
    )
    restart_after: int = option(
        5,
        "number of images in a row, of another size or older than those before, that restart the "
        "stream; fewer are rejected",
        unit="images",
        low=1,
        high=100_000,
    )

    def __post_init__(self) -> None:
        check_options(self)
        names = self.camera_names
        if len(names) > 1 and not all(CAMERA_NAME.fullmatch(name) for name in names):
            raise ValueError(
                f"cameras must be names of letters, digits and _ that begin with a letter; "
                f"got {', '.join(names)}"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"cameras must have different names; got {', '.join(names)}")

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras; one empty name for a single camera."""
        return self.cameras if len(self.cameras) > 1 else ("",)


@dataclass(frozen=True, slots=True)
class RigSettings(Options):
    """Several cameras."""

    mode: str = option(
        "shared",
        "shared: all cameras have one memory and one map; independent: each camera has its own, "
        "and they are computed together",
        choices=("shared", "independent"),
    )


@dataclass(frozen=True, slots=True)
class ModelSettings(Options):
    """Network and device."""

    checkpoint: str = option(
        "",
        "file, directory or hub id of a checkpoint (StreamVGGT, VGGT-1B, STream3R, LingBot-Map as "
        "robbyant/lingbot-map or robbyant/lingbot-map:lingbot-map-long.pt, or our own); "
        f"empty: {DEFAULT_CHECKPOINT}, which comes with the package",
    )
    device: str = option("auto", "torch device; auto: cuda if there is one, else cpu")
    precision: str = option(
        "auto",
        "number format; auto: bf16 on cuda, and on processors with AVX-512 BF16 or AMX for "
        "networks of width 512 or more, else fp32. The camera head always uses fp32",
        choices=("auto", "fp32", "bf16"),
    )
    compile: bool = option(
        False,
        "compile the blocks with torch.compile, for a GPU; the first image of each shape takes up "
        "to minutes",
    )
    threads: int = option(
        0,
        "processor threads of the network; 0: all cores but one, which stays free for other nodes",
        unit="threads",
        low=0,
        high=1024,
    )
    engine: str = option(
        "auto",
        "what computes a stream of one camera on a CPU in fp32: torch; onnx, ONNX Runtime, which "
        "exports the network for each new size of images, a quarter of a minute, and keeps the "
        "graph; auto: onnx where it is installed and the graph is there; else torch, and the graph "
        "of a small network is exported beside the stream, for later ones",
        choices=ENGINES,
    )
    graph: str = option(
        "auto",
        "auto: a stream on cuda records its frame as a graph once its memory is full, and replays "
        "it, where the policy allows it; off: every frame operation by operation",
        choices=("auto", "off"),
    )
    image_size: int = option(
        0,
        "width of the network's images, a multiple of 14; 0: as the network was trained",
        unit="px",
        low=0,
        high=4096,
    )

    @property
    def source(self) -> str:
        """The checkpoint to load."""
        return self.checkpoint or DEFAULT_CHECKPOINT

    @property
    def is_random(self) -> bool:
        """True if the weights are random: geometry is meaningless."""
        return self.source.startswith("random:")


@dataclass(frozen=True, slots=True)
class TimeSettings(Options):
    """Stamps and clocks."""

    on_jump: str = option(
        "reset",
        "when time goes back (a bag loops, /clock jumps, a camera restarts). reset: start a new "
        "map; refuse: reject images until they are newer than the newest",
        choices=("reset", "refuse"),
    )
    max_ahead: float = option(
        1.0,
        "images stamped further than this ahead of the node's clock are rejected",
        unit="s",
        low=0.0,
        high=1e9,
    )
    max_behind: float = option(
        10.0,
        "images stamped further than this behind the node's clock cause a warning",
        unit="s",
        low=0.0,
        high=1e12,
    )


@dataclass(frozen=True, slots=True)
class TfSettings:
    """Place of the stream in the tf tree (REP-105)."""

    mode: str = option(
        "auto",
        "transform on /tf. auto: map_frame to the root of the camera's tree, as map_to_odom if "
        "that is odom_frame; map_to_odom: correction of another odometry, sent by a timer; "
        "odom_to_base: this node is the odometry, which never jumps; map_to_base: pose of a robot "
        "without odometry",
        choices=("auto", "map_to_odom", "odom_to_base", "map_to_base", "none"),
    )
    invert: bool = option(
        False, "publish the inverse transform, for a child that has another parent"
    )
    map_frame: str = option("map", "frame of the map: x forward, z up, origin at the first image")
    odom_frame: str = option(
        "odom", "frame of the odometry, in which the robot moves without jumps"
    )
    base_frame: str = option("base_link", "frame of the robot")
    period: float = option(0.05, "map_to_odom: period of the timer", unit="s", low=0.005, high=10.0)
    tolerance: float = option(
        0.1,
        "map_to_odom: time that stamps lie ahead of the clock, so that the transform is valid "
        "until the next one",
        unit="s",
        low=0.0,
        high=10.0,
    )

    require_metres: bool = option(
        True,
        "while lengths are in an arbitrary unit, send the camera's pose as map_frame -> "
        "<camera>_visual, apart from the robot's tree; false: join the robot's tree in any unit",
    )

    def map_frame_of(self, world: str) -> str:
        """Return the map frame of a world; `world` is empty if there is one."""
        frame = frame_name(self.map_frame)
        return f"{world}_{frame}" if world else frame

    def __post_init__(self) -> None:
        check_options(self)
        frames = {
            "map_to_odom": (self.map_frame, self.odom_frame),
            "odom_to_base": (self.odom_frame, self.base_frame),
            "map_to_base": (self.map_frame, self.base_frame),
        }.get(self.mode, (self.map_frame,))
        if not all(frames) or len(set(frames)) < len(frames):
            raise ValueError(
                f"tf.mode {self.mode} needs frames with different names; got "
                f"{' and '.join(map(repr, frames))}"
            )


@dataclass(frozen=True, slots=True)
class PoseSettings(Options):
    """Source of the camera's pose."""

    source: str = option(
        "tracking",
        "tracking: corners tracked in the camera's images, bundle adjustment and loop closure, "
        "with the network's depth; network: the network alone. Of several cameras in one shared "
        "world the first is tracked, and the robot's transforms place the others",
        choices=("tracking", "network"),
    )
    background: bool = option(
        True,
        "adjust poses and close loops in threads beside the images; false: together with the "
        "image, which takes longer and gives the same poses for the same images, whatever else "
        "runs",
    )
    localization_only: bool = option(
        False,
        "find the camera in the map that is there and leave the map as it is: no new keyframes, "
        "places or points, a scale that is known stays, and state.path is not written; with "
        "source tracking",
    )


@dataclass(frozen=True, slots=True)
class OdometrySettings(Options):
    """Uncertainty of the network's poses. Their standard deviations grow with the distance that the
    camera travelled in its map."""

    position_std: float = option(
        0.01,
        "standard deviation of the position at the start of a map, and of each step",
        unit="stream unit",
        low=1e-6,
        high=1e3,
    )
    position_drift: float = option(
        0.05,
        "growth of the standard deviation of the position per distance travelled",
        low=0.0,
        high=10.0,
    )
    rotation_std: float = option(
        0.01,
        "standard deviation of the rotation at the start of a map, and of each step",
        unit="rad",
        low=1e-6,
        high=3.0,
    )
    rotation_drift: float = option(
        0.02,
        "growth of the standard deviation of the rotation per distance travelled",
        unit="rad per stream unit",
        low=0.0,
        high=10.0,
    )


@dataclass(frozen=True, slots=True)
class ScaleSettings:
    """Metric scale."""

    source: str = option(
        "none",
        "origin of metres. none: lengths are in the stream's own unit; odometry: motion of the "
        "camera in tf.odom_frame by /tf; depth: depth images on `depth` of the same camera; "
        "baseline: distances between the cameras of a shared rig by /tf; camera_height: height of "
        "the camera above the floor. Outputs wait until the scale is known",
        choices=("none", "odometry", "depth", "baseline", "camera_height"),
    )
    track: bool = option(
        True, "refine the scale with each frame; false: keep the first known scale"
    )
    samples: int = option(
        10,
        "measurements before the scale is used",
        unit="measurements",
        low=1,
        high=200,
    )
    min_motion: float = option(
        0.1, "odometry: distance of one measurement", unit="m", low=1e-3, high=1e3
    )
    camera_height: float | tuple[float, ...] = option(
        0.0,
        "camera_height: height of the camera above the floor; a list in the order of cameras if "
        "they differ",
        unit="m",
        low=0.0,
        high=1e3,
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.source == "camera_height" and not all(self.camera_heights):
            raise ValueError("scale.source camera_height needs scale.camera_height, in metres")

    @property
    def camera_heights(self) -> tuple[float, ...]:
        """Heights in metres, one for all cameras or one for each."""
        given = self.camera_height
        return given if isinstance(given, tuple) else (given,)


@dataclass(frozen=True, slots=True)
class GravitySettings(Options):
    """Direction of the map's z axis."""

    source: str = option(
        "none",
        "direction of up when a map begins. none: the first camera is level; imu: orientation on "
        "`imu`, or its accelerations at rest; tf: the camera's mount, with tf.base_frame level. "
        "Until gravity is known, images are rejected and ~/status gives the reason",
        choices=("none", "imu", "tf"),
    )


@dataclass(frozen=True, slots=True)
class OutputSettings(Options):
    """Contents and rates of outputs."""

    min_confidence: float = option(
        1.0, "depth of lower confidence is published as NaN; 1: none is", low=1.0, high=1000.0
    )
    depth_resolution: str = option(
        "model",
        "size of the depth and confidence images. model: as the network gives them; camera: as the "
        "camera's images, pixel by pixel",
        choices=("model", "camera"),
    )
    map_period: float = option(
        1.0, "shortest time between two publications of the map", unit="s", low=0.05, high=3600.0
    )
    map_points: int = option(
        0,
        "most points of a published map, evenly chosen; 0: all",
        unit="points",
        low=0,
        high=20_000_000,
    )
    updates_period: float = option(
        0.2,
        "shortest time between two publications of the map's changes",
        unit="s",
        low=0.02,
        high=3600.0,
    )
    updates_points: int = option(
        100_000,
        "most points of one update; the rest follows with the next",
        unit="points",
        low=1,
        high=20_000_000,
    )
    markers_period: float = option(
        0.5,
        "shortest time between two publications of the markers",
        unit="s",
        low=0.02,
        high=3600.0,
    )
    path_poses: int = option(
        2000,
        "most poses of the path; a full path keeps every second pose",
        unit="poses",
        low=2,
        high=100_000,
    )
    keyframe_images: int = option(
        0,
        "keyframes whose picture and depth are kept for ~/export as colmap, nerfstudio, mesh or "
        "run; a full store keeps every second one; 0: none",
        unit="keyframes",
        low=0,
        high=10_000,
    )


@dataclass(frozen=True, slots=True)
class GridSettings(Options):
    """Occupancy grid of the floor on ~/grid, for Nav2. It needs lengths in metres."""

    resolution: float = option(0.05, "side of a cell", unit="m", low=0.005, high=1.0)
    size: float = option(
        40.0, "side of the grid, which moves along with the camera", unit="m", low=1.0, high=500.0
    )
    min_height: float = option(
        0.1, "height above the floor from which points are obstacles", unit="m", low=0.0, high=10.0
    )
    max_height: float = option(
        1.5,
        "height above the floor up to which points are obstacles",
        unit="m",
        low=0.01,
        high=50.0,
    )
    max_range: float = option(
        5.0, "distance up to which depth enters the grid", unit="m", low=0.1, high=1000.0
    )
    period: float = option(
        1.0, "shortest time between two publications of the grid", unit="s", low=0.05, high=3600.0
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.min_height >= self.max_height:
            raise ValueError(
                f"min_height must be below max_height; got {self.min_height} and {self.max_height}"
            )
        if self.size / self.resolution > MAX_CELLS:
            raise ValueError(
                f"size must be at most {MAX_CELLS} cells of resolution; got "
                f"{self.size / self.resolution:.0f}"
            )


@dataclass(frozen=True, slots=True)
class StateSettings(Options):
    """Saved state."""

    path: str = option(
        "",
        "file that memory, map and pose are saved to and restored from at the next start; ~ is the "
        "home directory; empty: none",
    )
    period: float = option(
        60.0,
        "time between two saves",
        unit="s",
        low=0.1,
        high=1e6,
    )

    @property
    def file(self) -> Path:
        """The file; Path() if there is none."""
        return home_expanded(self.path)

    def __post_init__(self) -> None:
        check_options(self)
        try:
            _ = self.file
        except ValueError as error:
            raise ValueError(f"path cannot be used: {error}") from error


@dataclass(frozen=True, slots=True)
class FilesSettings(Options):
    """Files that services write and read."""

    root: str = option(
        "",
        "folder below which services write and read files; empty: infinitevggt in the user's data "
        "folder (~/.local/share); /: everywhere",
    )


@dataclass(frozen=True, slots=True)
class LifecycleSettings(Options):
    """Start of the node."""

    autostart: bool = option(
        True, "configure and activate at the start; false: leave that to a lifecycle manager"
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All parameters of the node. A field's name is their prefix; those of input have none."""

    input: InputSettings = field(default_factory=InputSettings)
    rig: RigSettings = field(default_factory=RigSettings)
    time: TimeSettings = field(default_factory=TimeSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    map: MapConfig = field(default_factory=MapConfig)
    tf: TfSettings = field(default_factory=TfSettings)
    pose: PoseSettings = field(default_factory=PoseSettings)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    odometry: OdometrySettings = field(default_factory=OdometrySettings)
    scale: ScaleSettings = field(default_factory=ScaleSettings)
    gravity: GravitySettings = field(default_factory=GravitySettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    grid: GridSettings = field(default_factory=GridSettings)
    state: StateSettings = field(default_factory=StateSettings)
    files: FilesSettings = field(default_factory=FilesSettings)
    lifecycle: LifecycleSettings = field(default_factory=LifecycleSettings)

    def __post_init__(self) -> None:
        if self.scale.source == "odometry" and self.tf.mode == "odom_to_base":
            raise ValueError(
                "scale.source odometry measures by the odometry of others, and with tf.mode "
                "odom_to_base this node is the odometry: change one of them"
            )
        if self.is_independent and self.tf.mode not in ("auto", "none"):
            raise ValueError(
                f"tf.mode {self.tf.mode} is of one world: rig.mode independent has one for each "
                "camera, set tf.mode to auto or none"
            )
        if self.scale.source == "baseline" and (
            len(self.input.camera_names) == 1 or self.is_independent
        ):
            raise ValueError(
                "scale.source baseline needs two or more cameras that share a world: name them in "
                "cameras, with rig.mode shared"
            )

        cameras, heights = len(self.input.camera_names), len(self.scale.camera_heights)
        if heights not in (1, cameras):
            raise ValueError(
                f"scale.camera_height must be one number, or a list of one for each of the "
                f"{cameras} cameras; got {heights}"
            )

    def camera_height(self, camera: str) -> float:
        """Return the height of a camera above the floor, m."""
        heights = self.scale.camera_heights
        return heights[self.input.camera_names.index(camera) if len(heights) > 1 else 0]

    @property
    def is_independent(self) -> bool:
        """True if each of several cameras has a world of its own."""
        return len(self.input.camera_names) > 1 and self.rig.mode == "independent"


LIVE_GROUPS = ("time", "memory", "map", "output")
"""Groups that change while the node runs."""
LIVE_PARAMETERS = ("pose.localization_only",)
"""Parameters of other groups that change while the node runs."""
LOADED_GROUPS = ("model",)
"""Groups that change while the node is unconfigured; the others are read-only."""
