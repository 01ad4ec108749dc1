# SPDX-License-Identifier: Apache-2.0
"""The stream node on a camera or on a bag, with RViz if wanted: `ros2 launch infinitevggt_ros
stream.launch.py -s` lists the arguments. What the node computes is set in `params_file` only."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage

PACKAGE = "infinitevggt_ros"
CONFIG = Path(__file__).resolve().parents[1] / "config"
PATIENCE_S = "600"  # a bag waits this long for the node: a checkpoint may have to be downloaded
ARGUMENTS = {
    "params_file": (str(CONFIG / "stream.yaml"), "YAML file with the node's parameters"),
    "namespace": ("", "namespace of the node and its topics; /tf and absolute topics stay as is"),
    "use_sim_time": ("false", "follow /clock; true wherever a bag is played"),
    "cameras": ("", "a rig: names with commas between; `/camera/` in the next three is then each"),
    "rig_mode": ("shared", "of a rig: shared, one world; independent, a world for each camera"),
    "image": ("/camera/image_raw", "image topic; for compressed images without /compressed"),
    "camera_info": ("/camera/camera_info", "calibration topic of the same camera"),
    "depth": ("/camera/depth/image_raw", "depth image topic, for `scale.source: depth`"),
    "imu": ("/imu/data", "IMU topic, for `gravity.source: imu`"),
    "bag": ("", "bag to play; everything ends with it; empty: live, until Ctrl-C"),
    "lockstep": ("true", "bag: wait for the node at every image, drop none; false: in real time"),
    "autostart": ("", "false: leave the node to a lifecycle manager; empty: as params_file says"),
    "rviz": ("false", "also start RViz"),
    "rviz_points": ("300000", "with RViz: most points of the map that it is sent; 0: all"),
    "viewer": ("false", "also serve a web page, port 8080 or the next free one (needs viser)"),
    "viewer_host": ("", "address it listens on; 127.0.0.1: this machine alone; empty: every one"),
}
# topics in stream.rviz: a relative name on the right is one of the namespace
RVIZ_TOPICS = [
    (f"/infinitevggt/{name}", f"infinitevggt/{name}")
    for name in ("path", "map", "points", "depth/image")
]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=processes)])


def processes(context: LaunchContext) -> list[Action]:
    """What to start, now that the arguments have values."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if not Path(value["params_file"]).is_file():  # launch_ros warns, and goes on without it
        raise FileNotFoundError(f"params_file: there is no file {value['params_file']!r}")
    parameters = [value["params_file"]]
    if value["autostart"]:
        autostart = ParameterValue(LaunchConfiguration("autostart"), value_type=bool)
        parameters.append({"lifecycle.autostart": autostart})
    has_rviz = value["rviz"].lower() in ("true", "1")
    if has_rviz:
        points = ParameterValue(LaunchConfiguration("rviz_points"), value_type=int)
        parameters.append({"output.map_points": points})
    is_bag = bool(value["bag"])
    use_sim_time = is_bag or ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    ended = Shutdown()
    common = {"namespace": value["namespace"], "output": "screen", "emulate_tty": True}
    cameras = [name.strip() for name in value["cameras"].split(",") if name.strip()]
    remappings = camera_remappings(cameras, value)
    images = [topic for name, topic in remappings if name.endswith("image")]
    rig = cameras if len(cameras) > 1 else []
    rig_settings = {"cameras": rig, "rig.mode": value["rig_mode"]} if rig else {}
    has_worlds = bool(rig) and value["rig_mode"] == "independent"
    node = Node(
        package=PACKAGE,
        executable="stream_node",
        parameters=[*parameters, {"use_sim_time": use_sim_time, **rig_settings}],
        remappings=[*remappings, ("imu", value["imu"])],
        on_exit=ended if is_bag else None,
        **common,
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=[
            "-d",
            str(CONFIG / "stream.rviz"),
            *(["-f", f"{rig[0]}_map"] if has_worlds else []),
        ],
        parameters=[{"use_sim_time": use_sim_time}],
        remappings=[*rviz_topics(rig, has_worlds), ("/camera/image_raw", images[0])],
        condition=IfCondition(value["rviz"]),
        **common,
    )
    cli = ExecutableInPackage("infinitevggt", PACKAGE)
    node_name = Path("/", value["namespace"], "infinitevggt").as_posix()
    view = ["--node", node_name, *(["--camera", rig[0]] if rig else [])]
    view += ["--host", value["viewer_host"]] if value["viewer_host"] else []
    viewer = ExecuteProcess(
        cmd=[cli, "viewer", *view],
        output="screen",
        condition=IfCondition(value["viewer"]),
    )
    replay = ["replay", value["bag"], "--wait-for-subscriber", PATIENCE_S]
    replay += ["--wait-for-node", node_name]  # RViz subscribes to the images before it does
    replay += ["--image-topic", *images]
    if value["lockstep"].lower() in ("true", "1"):
        replay += ["--lockstep", "--rate", "1", "--timeout", PATIENCE_S]
        replay += ["--status-topic", f"{node_name}/status"]
    player = ExecuteProcess(cmd=[cli, *replay], output="screen", on_exit=ended)
    return [node, rviz, viewer, player] if is_bag else [node, rviz, viewer]


def camera_remappings(cameras: list[str], value: dict[str, str]) -> list[tuple[str, str]]:
    """The node's names of the cameras' topics, and theirs."""
    topics = ("image", "camera_info", "depth")
    if not cameras:
        return [(name, value[name]) for name in topics]
    for name in topics:
        if "/camera/" not in value[name]:
            raise ValueError(f"{name}: with `cameras`, /camera/ stands for each; got {value[name]}")
    return [
        (
            f"{camera}/{name}" if len(cameras) > 1 else name,
            value[name].replace("/camera/", f"/{camera}/"),
        )
        for camera in cameras
        for name in topics
    ]


def rviz_topics(rig: list[str], has_worlds: bool) -> list[tuple[str, str]]:
    """Of a rig, what is the first camera's, and the map, which may be everybody's."""
    if not rig:
        return RVIZ_TOPICS
    of_first = "infinitevggt/", f"infinitevggt/{rig[0]}/"
    return [
        (shown, topic.replace(*of_first) if has_worlds or not topic.endswith("/map") else topic)
        for shown, topic in RVIZ_TOPICS
    ]
