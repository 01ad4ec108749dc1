# SPDX-License-Identifier: Apache-2.0
"""Starts stream_node on a live camera or on a bag, with RViz or a web page if wanted.

`ros2 launch infinitevggt_ros stream.launch.py -s` lists the arguments. Arguments that are not empty
take precedence over `params_file`.
"""

from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    Shutdown,
    TimerAction,
)
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage

PACKAGE = "infinitevggt_ros"
CONFIG = Path(__file__).resolve().parents[1] / "config"
PATIENCE_S = "600"  # a bag waits this long for the node: a checkpoint may have to be downloaded
RESPAWN_DELAY_S = 1.0
ENDED = (0, 1)
"""Exit statuses of a node that ended as told, or that cannot start. Others are crashes."""
ARGUMENTS = {
    "params_file": (
        str(CONFIG / "stream.yaml"),
        "YAML file with parameters of the node, such as a changed copy of config/stream.yaml.",
    ),
    "checkpoint": (
        "",
        "File, directory or hub id of the network's weights. Empty: as in params_file, which by "
        "default is the small network that comes with the package.",
    ),
    "device": ("", "Device of the network: cpu, cuda, cuda:1. Empty: as in params_file."),
    "threads": (
        "",
        "Number of processor threads of the network; 0 leaves one core free. Empty: as in "
        "params_file.",
    ),
    "scale_source": (
        "",
        "Where metres come from: none, odometry, depth, baseline or camera_height. Empty: as in "
        "params_file.",
    ),
    "tf_mode": (
        "",
        "Transform that the node publishes: auto, map_to_odom, odom_to_base, map_to_base or none. "
        "Empty: as in params_file.",
    ),
    "state_path": (
        "",
        "File in which the map is kept between runs and after a crash. Empty: as in params_file.",
    ),
    "log_level": ("info", "Least severe log messages to print: debug, info, warn or error."),
    "namespace": (
        "",
        "Namespace of the node and of the topics below that do not begin with a slash, such as "
        "robot1. The topics /tf and /tf_static stay as they are.",
    ),
    "frame_prefix": (
        "",
        "Text before the frames map, odom and base_link, such as robot1/.",
    ),
    "use_sim_time": ("false", "Whether the node follows /clock. Always true if a bag is played."),
    "cameras": (
        "",
        "Names of several cameras, separated by commas. Each replaces the part /camera/ in the "
        "topics below. Empty: one camera.",
    ),
    "rig_mode": (
        "shared",
        "How several cameras work together. shared: they see one world; independent: each has its "
        "own map.",
    ),
    "image": (
        "camera/image_raw",
        "Topic of the camera's images. For compressed images, without /compressed.",
    ),
    "camera_info": ("camera/camera_info", "Topic of the camera's calibration."),
    "depth": (
        "camera/depth/image_raw",
        "Topic of depth images of the same camera; used with scale_source:=depth.",
    ),
    "imu": ("imu/data", "Topic of an IMU; used if gravity.source is imu."),
    "bag": ("", "Bag to play. Its topics are used as they were recorded. Empty: a live camera."),
    "lockstep": (
        "true",
        "Whether the bag waits for the node at every image, so that none is lost. false: play in "
        "real time.",
    ),
    "keep": (
        "false",
        "Whether the node and RViz stay after the end of the bag, until Ctrl-C.",
    ),
    "autostart": (
        "",
        "Whether the node starts working by itself. false: a lifecycle manager starts it. Empty: "
        "as in params_file.",
    ),
    "rviz": ("false", "Whether RViz is started with a view of the camera, the path and the map."),
    "rviz_points": ("300000", "Most points of the map that are sent to RViz at a time; 0: all."),
    "viewer": ("false", "Whether a web page with the map is served, which needs viser."),
    "viewer_host": (
        "127.0.0.1",
        "Address at which the web page listens. 127.0.0.1: this computer only; 0.0.0.0: everybody "
        "on the network, who can then change the node's parameters.",
    ),
}
PARAMETERS = {
    "checkpoint": ("model.checkpoint", str),
    "device": ("model.device", str),
    "threads": ("model.threads", int),
    "scale_source": ("scale.source", str),
    "tf_mode": ("tf.mode", str),
    "state_path": ("state.path", str),
    "autostart": ("lifecycle.autostart", bool),
}
"""Parameter and type of the arguments that are one."""
FRAMES = {"tf.map_frame": "map", "tf.odom_frame": "odom", "tf.base_frame": "base_link"}
TOPICS = ("image", "camera_info", "depth")
# topics in stream.rviz: a relative name on the right is one of the namespace
RVIZ_TOPICS = [
    (f"/infinitevggt/{name}", f"infinitevggt/{name}")
    for name in ("path", "map", "markers", "points", "depth/image")
]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=processes)])


def processes(context: LaunchContext) -> list[Action]:
    """Return what to start, now that the arguments have values."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    for name in ("params_file", "bag"):  # of name:=~/file, no shell replaces the ~
        value[name] = str(Path(value[name]).expanduser()) if value[name] else ""
    check(value)
    is_bag, keeps = bool(value["bag"]), truth("keep", value["keep"])
    if is_bag:  # its topics are absolute
        value = {**value, **{name: absolute(value[name]) for name in (*TOPICS, "imu")}}
    use_sim_time = is_bag or truth("use_sim_time", value["use_sim_time"])
    cameras = [name.strip() for name in value["cameras"].split(",") if name.strip()]
    rig = cameras if len(cameras) > 1 else []
    common = {"namespace": value["namespace"], "output": "screen", "emulate_tty": True}
    remappings = camera_remappings(cameras, value)
    images = [topic for name, topic in remappings if name.endswith("image")]
    settings = {
        "package": PACKAGE,
        "executable": "stream_node",
        "parameters": [value["params_file"], *parameters(value, rig, use_sim_time)],
        "remappings": [*remappings, ("imu", value["imu"])],
        "ros_arguments": ["--log-level", value["log_level"]],
        **common,
    }
    started: list[Action] = [stream_node(settings, respawns=not is_bag)]
    if truth("rviz", value["rviz"]):
        started.append(rviz(value, rig, images[0], common, use_sim_time))
    if truth("viewer", value["viewer"]):
        started.append(viewer(value, rig))
    if is_bag:
        started.append(player(value, images, keeps=keeps))
    return started


def check(value: dict[str, str]) -> None:
    """Raise an error for arguments that cannot work, before anything is started."""
    if not Path(value["params_file"]).is_file():  # launch_ros warns, and goes on without it
        raise FileNotFoundError(f"params_file: there is no file {value['params_file']!r}")
    for name in ("lockstep", "viewer", *(["autostart"] if value["autostart"] else [])):
        truth(name, value[name])
    if truth("rviz", value["rviz"]):
        try:
            get_package_prefix("rviz2")
        except PackageNotFoundError as error:
            raise RuntimeError(
                "rviz: the package rviz2 is not installed; install it, or use viewer:=true"
            ) from error


def stream_node(settings: dict[str, Any], *, respawns: bool) -> Node:
    """Return the node. After a crash it starts again; after another end everything else ends."""

    def ended(event: ProcessExited, context: LaunchContext) -> list[Action]:
        if event.returncode in ENDED or not respawns or context.is_shutdown:
            return [Shutdown(reason="stream_node has ended")]
        text = f"stream_node crashed with status {event.returncode} and starts again"
        again = TimerAction(
            period=RESPAWN_DELAY_S, actions=[stream_node(settings, respawns=respawns)]
        )
        return [LogInfo(msg=text), again]

    return Node(on_exit=ended, **settings)


def rviz(
    value: dict[str, str], rig: list[str], image: str, common: dict[str, Any], use_sim_time: bool
) -> Node:
    has_worlds = bool(rig) and value["rig_mode"] == "independent"
    frame = f"{value['frame_prefix']}map"
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=[
            "-d",
            str(CONFIG / "stream.rviz"),
            "-f",
            f"{rig[0]}_{frame}" if has_worlds else frame,
        ],
        parameters=[{"use_sim_time": use_sim_time}],
        remappings=[*rviz_topics(rig, has_worlds), ("/camera/image_raw", image)],
        **common,
    )


def viewer(value: dict[str, str], rig: list[str]) -> ExecuteProcess:
    view = ["--node", node_name(value), "--host", value["viewer_host"]]
    view += ["--camera", rig[0]] if rig else []
    cli = ExecutableInPackage("infinitevggt", PACKAGE)
    return ExecuteProcess(cmd=[cli, "viewer", *view], name="viewer", output="screen")


def player(value: dict[str, str], images: list[str], *, keeps: bool) -> ExecuteProcess:
    """Return the process that plays the bag."""
    replay = ["replay", value["bag"], "--wait-for-subscriber", PATIENCE_S]
    replay += ["--wait-for-node", node_name(value)]  # RViz subscribes to the images before it does
    replay += ["--stop-is-success", "--image-topic", *images]
    if truth("lockstep", value["lockstep"]):
        replay += ["--lockstep", "--rate", "1", "--timeout", PATIENCE_S]
        replay += ["--status-topic", f"{node_name(value)}/status"]
    kept = "the bag has ended; Ctrl-C ends the rest"
    ended = LogInfo(msg=kept) if keeps else Shutdown(reason="the bag has ended")
    cli = ExecutableInPackage("infinitevggt", PACKAGE)
    return ExecuteProcess(cmd=[cli, *replay], name="player", output="screen", on_exit=ended)


def parameters(value: dict[str, str], rig: list[str], use_sim_time: bool) -> list[dict[str, Any]]:
    """Return the parameters that arguments set."""
    given: dict[str, Any] = {"use_sim_time": use_sim_time}
    for name, (parameter, kind) in PARAMETERS.items():
        if kind is bool and value[name]:
            given[parameter] = truth(name, value[name])
        elif value[name]:
            given[parameter] = ParameterValue(LaunchConfiguration(name), value_type=kind)
    if truth("rviz", value["rviz"]):
        points = ParameterValue(LaunchConfiguration("rviz_points"), value_type=int)
        given["output.map_points"] = points
    if value["frame_prefix"]:
        prefix = value["frame_prefix"]
        given |= {parameter: f"{prefix}{frame}" for parameter, frame in FRAMES.items()}
    if rig:
        given |= {"cameras": rig, "rig.mode": value["rig_mode"]}
    return [given]


def truth(name: str, text: str) -> bool:
    """Return the value of an argument that is true or false. Raises ValueError for other words."""
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    if text.strip().lower() not in words:
        raise ValueError(f"{name}: it must be true or false; got {text!r}")
    return words[text.strip().lower()]


def absolute(topic: str) -> str:
    """Return a topic's name from the root on."""
    return topic if topic.startswith("/") else f"/{topic}"


def node_name(value: dict[str, str]) -> str:
    """Return the full name of the node."""
    return "/".join(["", *value["namespace"].strip("/").split("/"), "infinitevggt"]).replace(
        "//", "/"
    )


def camera_remappings(cameras: list[str], value: dict[str, str]) -> list[tuple[str, str]]:
    """Return the node's names of the cameras' topics, and theirs."""
    topics = ("image", "camera_info", "depth")
    if not cameras:
        return [(name, value[name]) for name in topics]
    for name in topics:
        if "camera" not in value[name].split("/"):
            raise ValueError(f"{name}: with `cameras`, camera stands for each; got {value[name]}")
    return [
        (
            f"{camera}/{name}" if len(cameras) > 1 else name,
            "/".join(camera if part == "camera" else part for part in value[name].split("/")),
        )
        for camera in cameras
        for name in topics
    ]


def rviz_topics(rig: list[str], has_worlds: bool) -> list[tuple[str, str]]:
    """Return the remappings of RViz. Of a rig, it shows the first camera, and a map for all."""
    if not rig:
        return RVIZ_TOPICS
    of_first = "infinitevggt/", f"infinitevggt/{rig[0]}/"
    return [
        (
            shown,
            topic.replace(*of_first)
            if has_worlds or not topic.endswith(("/map", "/markers"))
            else topic,
        )
        for shown, topic in RVIZ_TOPICS
    ]
