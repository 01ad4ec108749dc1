# SPDX-License-Identifier: Apache-2.0
"""The node's own settings, frozen; what the memory and the map take is defined in the core."""

import re
from dataclasses import dataclass, field

from infinitevggt_core import MapConfig, MemoryConfig
from infinitevggt_core.config import Options, check_options, option
from infinitevggt_core.tracking.config import TrackingConfig
from infinitevggt_ros.topics import frame_name

DEFAULT_CHECKPOINT = "tiny"
CAMERA_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
"""A name that may be part of a topic."""


@dataclass(frozen=True, slots=True)
class InputSettings:
    """What the node takes in."""

    cameras: tuple[str, ...] = option(
        ("",),
        "names of a rig's cameras: the images of NAME come on `NAME/image`, its calibration on "
        "`NAME/camera_info`; fewer than two: one camera, whose topics have no name before them",
    )
    image_transport: str = option(
        "raw",
        "form of the images: raw, sensor_msgs/Image on `image`, or compressed, CompressedImage on "
        "`image/compressed`",
        choices=("raw", "compressed"),
    )
    image_reliability: str = option(
        "auto",
        "reliability asked of the image topic; auto: what its publishers offer",
        choices=("auto", "reliable", "best_effort"),
    )
    intrinsics: str = option(
        "camera_info",
        "what unprojects depth: the calibration on `camera_info` where there is one, or always the "
        "predicted field of view",
        choices=("camera_info", "predicted"),
    )
    image_geometry: str = option(
        "auto",
        "what the images are: as the lens gives them (distorted: rectified here, by the "
        "distortion in `camera_info`), or rectified already (its P holds); auto: rectified if "
        "the topic's name says rect",
        choices=("auto", "distorted", "rectified"),
    )
    restart_after: int = option(
        5,
        "images in a row with another size, or older than those before, after which the stream "
        "restarts with them; until then they are refused",
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
        """One empty name where there is one camera."""
        return self.cameras if len(self.cameras) > 1 else ("",)


@dataclass(frozen=True, slots=True)
class RigSettings(Options):
    """What several cameras have in common."""

    mode: str = option(
        "shared",
        "several cameras: shared, one world, one memory and one map, their images in turn; "
        "independent, a world, memory and map for each, computed together",
        choices=("shared", "independent"),
    )


@dataclass(frozen=True, slots=True)
class ModelSettings(Options):
    """Which network, and where it runs."""

    checkpoint: str = option(
        "",
        "file, directory or hub id of a checkpoint (StreamVGGT, VGGT-1B, STream3R, LingBot-Map as "
        "robbyant/lingbot-map or robbyant/lingbot-map:lingbot-map-long.pt, or our own); "
        f"empty: {DEFAULT_CHECKPOINT}, which comes with the package",
    )
    device: str = option("auto", "torch device; auto: cuda if there is one, else cpu")
    precision: str = option(
        "auto",
        "of the network; auto: bf16 on cuda, and on processors that multiply it fast (AVX-512 "
        "BF16, AMX) for networks 512 wide or more, else fp32. The camera head is always fp32",
        choices=("auto", "fp32", "bf16"),
    )
    compile: bool = option(
        False,
        "run the blocks as torch.compile makes them, for a GPU; the first image, and the first of "
        "another shape, take up to minutes",
    )
    image_size: int = option(
        0,
        "width the images are resized to, a multiple of 14; 0: the size the network was made for",
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
        """Whether the weights are random, so that the geometry means nothing."""
        return self.source.startswith("random:")


@dataclass(frozen=True, slots=True)
class TimeSettings(Options):
    """What time may do."""

    on_jump: str = option(
        "reset",
        "when time goes back (a bag loops, /clock jumps, a camera restarts): start a new map, or "
        "refuse images until they are newer than the newest again",
        choices=("reset", "refuse"),
    )
    max_ahead: float = option(
        1.0,
        "an image stamped further than this ahead of the node's clock is refused: nothing that is "
        "published may lie in the future",
        unit="s",
        low=0.0,
        high=1e9,
    )


@dataclass(frozen=True, slots=True)
class TfSettings:
    """Where the stream stands in the tf tree (REP-105)."""

    mode: str = option(
        "auto",
        "what is published on /tf. auto: map_frame to the root of the tree the camera hangs in, or "
        "to the image's own frame if it has no parent; map_to_odom: the correction of another "
        "odometry, sent again by a timer; odom_to_base: this node is the odometry, which never "
        "jumps; map_to_base: the place of a robot without odometry",
        choices=("auto", "map_to_odom", "odom_to_base", "map_to_base", "none"),
    )
    invert: bool = option(False, "publish the inverse, for a child that has another parent already")
    map_frame: str = option("map", "the stream's world: x forward, z up, origin at the first image")
    odom_frame: str = option("odom", "frame in which the robot moves without jumps")
    base_frame: str = option("base_link", "frame of the robot")
    period: float = option(
        0.05, "mode map_to_odom: time between two sendings", unit="s", low=0.005, high=10.0
    )
    tolerance: float = option(
        0.1,
        "mode map_to_odom: how far ahead of the clock it is stamped, so that it holds until the "
        "next one",
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
        "with the network's depth; network: the network alone. Several cameras in one shared "
        "world use the network",
        choices=("tracking", "network"),
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
    """What makes metres of the stream's unit."""

    source: str = option(
        "none",
        "none: lengths are in the stream's own unit; odometry: the camera's motion in "
        "tf.odom_frame by /tf; depth: a depth image on `depth`, of the same camera; baseline: the "
        "distances of the cameras of a shared rig by /tf; camera_height: the floor, which lies "
        "scale.camera_height below",
        choices=("none", "odometry", "depth", "baseline", "camera_height"),
    )
    track: bool = option(True, "go on measuring; false: keep the first scale that is known")
    samples: int = option(
        10,
        "measurements before the scale is used",
        unit="measurements",
        low=1,
        high=200,
    )
    min_motion: float = option(
        0.1, "source odometry: way of one measurement", unit="m", low=1e-3, high=1e3
    )
    camera_height: float | tuple[float, ...] = option(
        0.0,
        "source camera_height: of the camera above the floor; a list where the cameras of a rig "
        "differ, in the order of cameras",
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
        """One of all cameras, or one for each; metres."""
        given = self.camera_height
        return given if isinstance(given, tuple) else (given,)


@dataclass(frozen=True, slots=True)
class GravitySettings(Options):
    """What makes the map's z axis point up."""

    source: str = option(
        "none",
        "where up is when a map begins. none: the first camera is taken as level; imu: by the "
        "orientation on `imu`, or by the accelerations there while it rests; tf: by the camera's "
        "mount, with tf.base_frame taken as level. A map waits until it is known",
        choices=("none", "imu", "tf"),
    )


@dataclass(frozen=True, slots=True)
class OutputSettings(Options):
    """What the node publishes, and how often."""

    min_confidence: float = option(
        1.0, "depth of less confidence is published as NaN (1: all of it)", low=1.0, high=1000.0
    )
    depth_resolution: str = option(
        "model",
        "size of the depth and confidence images: the network's own, or the camera's, so that they "
        "lie on its images pixel by pixel",
        choices=("model", "camera"),
    )
    map_period: float = option(
        1.0, "shortest time between two publications of the map", unit="s", low=0.05, high=3600.0
    )
    map_points: int = option(
        0,
        "most points of the map that are sent at a time, an even choice; 0: all",
        unit="points",
        low=0,
        high=20_000_000,
    )
    updates_period: float = option(
        0.2,
        "shortest time between two publications of what changed in the map",
        unit="s",
        low=0.02,
        high=3600.0,
    )
    updates_points: int = option(
        100_000,
        "most points of an update, the rest comes with the next",
        unit="points",
        low=1,
        high=20_000_000,
    )
    path_poses: int = option(
        2000,
        "most poses in the path; a full path keeps every second one",
        unit="poses",
        low=2,
        high=100_000,
    )


@dataclass(frozen=True, slots=True)
class StateSettings(Options):
    """What outlives the process."""

    path: str = option(
        "",
        "file that memory, map and pose are saved to, and gone on from at the next start; empty: "
        "none",
    )
    period: float = option(
        60.0,
        "time between two savings: what is lost at most when the process is killed",
        unit="s",
        low=0.1,
        high=1e6,
    )


@dataclass(frozen=True, slots=True)
class LifecycleSettings(Options):
    """Who starts the node."""

    autostart: bool = option(
        True, "configure and activate at the start; false: a lifecycle manager does"
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Every parameter of the node. A field's name is their prefix; those of input have none."""

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
    state: StateSettings = field(default_factory=StateSettings)
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
        """Of a camera above the floor, metres."""
        heights = self.scale.camera_heights
        return heights[self.input.camera_names.index(camera) if len(heights) > 1 else 0]

    @property
    def is_independent(self) -> bool:
        """Whether each of several cameras has a world of its own."""
        return len(self.input.camera_names) > 1 and self.rig.mode == "independent"


LIVE_GROUPS = ("time", "memory", "map", "output")
"""Groups that change while the node runs."""
LOADED_GROUPS = ("model",)
"""Groups that change while the node is unconfigured; the others are read-only."""
