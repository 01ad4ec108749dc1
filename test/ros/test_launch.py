# SPDX-License-Identifier: Apache-2.0
"""stream.launch.py and stream.rviz: as text, and where launch is installed, for real."""

import ast
import configparser
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from infinitevggt_ros.node.stream_publisher import StreamPublisher
from infinitevggt_ros.params import parameters
from infinitevggt_ros.params.settings import Settings
from support.bag_making import write_image_bag
from support.listening import finish

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LAUNCH_FILE = ROOT / "launch" / "stream.launch.py"
TREE = ast.parse(LAUNCH_FILE.read_text())
STRINGS = {n.value for n in ast.walk(TREE) if isinstance(n, ast.Constant) and type(n.value) is str}
RVIZ = yaml.safe_load((ROOT / "config" / "stream.rviz").read_text())["Visualization Manager"]
DISPLAYS = [display for display in RVIZ["Displays"] if "Topic" in display]

ARGUMENTS = {
    "params_file": None,
    "checkpoint": "",
    "device": "",
    "threads": "",
    "scale_source": "",
    "tf_mode": "",
    "state_path": "",
    "log_level": "info",
    "namespace": "",
    "frame_prefix": "",
    "use_sim_time": "false",
    "cameras": "",
    "rig_mode": "shared",
    "image": "camera/image_raw",
    "camera_info": "camera/camera_info",
    "depth": "camera/depth/image_raw",
    "imu": "imu/data",
    "bag": "",
    "lockstep": "true",
    "keep": "false",
    "autostart": "",
    "rviz": "false",
    "rviz_points": "300000",
    "viewer": "false",
    "viewer_host": "127.0.0.1",
}
DISPLAY_TYPES = {
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/Path": "nav_msgs/msg/Path",
    "rviz_default_plugins/PointCloud2": "sensor_msgs/msg/PointCloud2",
}
RUN_LAUNCH_FILE = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

source = PythonLaunchDescriptionSource(sys.argv[1])
arguments = [argument.split(":=") for argument in sys.argv[2:]]
included = IncludeLaunchDescription(source, launch_arguments=arguments)
service = LaunchService()
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


def assigned(name: str, tree: ast.Module = TREE) -> ast.expr:
    """Return the value that a file, else the launch file, assigns to a constant."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return statement.value
    raise AssertionError(f"no {name}")


def function(name: str) -> Callable[..., Any]:
    """A function of the launch file that needs nothing of launch."""
    wanted = {name, "RVIZ_TOPICS", "TOPICS"}
    found = [
        statement
        for statement in TREE.body
        if (isinstance(statement, ast.FunctionDef) and statement.name in wanted)
        or (isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in wanted)
    ]
    scope: dict[str, Any] = {}
    exec(compile(ast.Module(found, []), str(LAUNCH_FILE), "exec"), scope)
    return scope[name]


def display_named(name: str) -> dict[str, Any]:
    (found,) = (display for display in DISPLAYS if display["Name"] == name)
    return found


def remapped_rviz_topics() -> dict[str, str]:
    return dict(function("rviz_topics")([], False))


def test_the_launch_file_declares_the_arguments() -> None:
    declared = assigned("ARGUMENTS")
    assert isinstance(declared, ast.Dict)
    assert {ast.literal_eval(key) for key in declared.keys if key} == set(ARGUMENTS)


def test_the_launch_file_declares_no_parameter_again() -> None:
    """But for those that are arguments, whose values come from there."""
    names = {name for name, *_ in parameters.parameter_fields()}
    of_arguments = {name for name, _ in ast.literal_eval(types_as_text()).values()}
    of_frames = set(ast.literal_eval(assigned("FRAMES")))
    others = {"cameras", "rig.mode", "output.map_points"}
    assert names & STRINGS == of_arguments | of_frames | others
    assert of_arguments <= names


def types_as_text() -> str:
    """The table of arguments that are parameters, with the types as words."""
    text = ast.unparse(assigned("PARAMETERS"))
    return re.sub(r"\b(str|int|bool)\b", r"'\1'", text)


@pytest.mark.parametrize("word", ["true", "True", "yes", "on", "1", " TRUE "])
def test_every_word_for_true_is_true(word: str) -> None:
    opposite = {"true": "false", "yes": "no", "on": "off", "1": "0"}[word.strip().lower()]
    assert function("truth")("lockstep", word) is True
    assert function("truth")("lockstep", opposite) is False


@pytest.mark.parametrize("word", ["", "ja", "2", "tru"])
def test_another_word_for_true_or_false_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="lockstep: it must be true or false"):
        function("truth")("lockstep", word)


@pytest.mark.parametrize("namespace", ["", "robot1", "/robot1", "robot1/"])
def test_the_node_is_found_in_its_namespace(namespace: str) -> None:
    expected = "/robot1/infinitevggt" if namespace else "/infinitevggt"
    assert function("node_name")({"namespace": namespace}) == expected


@pytest.mark.parametrize("path", sorted(LAUNCH_FILE.parent.glob("*.launch.xml")))
def test_examples_name_arguments_that_exist(path: Path) -> None:
    included = ElementTree.parse(path).getroot().find("include")
    assert included is not None
    assert included.get("file", "").endswith("/launch/stream.launch.py")
    assert {argument.get("name") for argument in included} <= set(ARGUMENTS)
    assert path.stem.partition(".")[0] in path.read_text(), "its example is of another file"


def test_descriptions_are_sentences() -> None:
    for name, (_, text) in described_arguments().items():
        assert text[0].isupper(), name
        assert text.endswith("."), name


def described_arguments() -> dict[str, tuple[Any, str]]:
    """The arguments' defaults and descriptions."""
    table = assigned("ARGUMENTS")
    assert isinstance(table, ast.Dict)
    found: dict[str, tuple[Any, str]] = {}
    for key, value in zip(table.keys, table.values, strict=True):
        assert isinstance(key, ast.Constant)
        assert isinstance(value, ast.Tuple)
        found[key.value] = None, ast.literal_eval(value.elts[1])
    return found


def test_files_and_executables_of_the_launch_file_exist() -> None:
    files = {text for text in STRINGS if text.endswith((".yaml", ".rviz", ".xml"))}
    assert files == {"stream.yaml", "stream.rviz"}
    assert all((ROOT / "config" / name).is_file() for name in files)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"].split("\n")
    assert {"stream_node", "infinitevggt"} <= STRINGS
    assert {"stream_node", "infinitevggt"} <= {script.partition(" =")[0] for script in scripts}


def test_rviz_looks_at_the_map_from_behind_and_above() -> None:
    assert RVIZ["Global Options"]["Fixed Frame"] == Settings().tf.map_frame
    view = RVIZ["Views"]["Current"]
    assert view["Class"] == "rviz_default_plugins/Orbit"
    assert view["Yaw"] == pytest.approx(3.14159)
    assert view["Pitch"] > 0


def test_rviz_scales_depth_by_each_image() -> None:
    """Over several it rounds to whole units: nothing is left of a depth from 0.2 to 0.9."""
    depth = display_named("Depth")
    assert depth["Normalize Range"] is True
    assert depth["Median window"] == 1


def test_rviz_sees_cameras_that_publish_best_effort_too() -> None:
    assert display_named("Camera")["Topic"]["Reliability Policy"] == "Best Effort"


def test_rviz_topics_follow_the_node_into_a_namespace() -> None:
    topics = {display["Topic"]["Value"] for display in DISPLAYS}
    remapped = remapped_rviz_topics()
    assert topics == {*remapped, "/camera/image_raw"}
    assert all(topic == f"/{relative}" for topic, relative in remapped.items())


def test_rviz_shows_the_first_camera_of_a_rig_and_its_map_or_that_of_all() -> None:
    shared, independent = (dict(function("rviz_topics")(["left"], own)) for own in (False, True))
    own = {f"/infinitevggt/{name}": f"infinitevggt/left/{name}" for name in ("map", "markers")}
    assert independent == {**shared, **own}
    assert shared == {
        "/infinitevggt/path": "infinitevggt/left/path",
        "/infinitevggt/map": "infinitevggt/map",
        "/infinitevggt/markers": "infinitevggt/markers",
        "/infinitevggt/points": "infinitevggt/left/points",
        "/infinitevggt/depth/image": "infinitevggt/left/depth/image",
    }


def test_each_camera_of_a_rig_has_its_topics() -> None:
    remappings = function("camera_remappings")
    value = {"image": "/robot/camera/image_raw", "camera_info": "/camera/i", "depth": "/camera/d"}
    assert remappings([], value) == list(value.items())
    assert remappings(["a", "b"], value) == [
        ("a/image", "/robot/a/image_raw"),
        ("a/camera_info", "/a/i"),
        ("a/depth", "/a/d"),
        ("b/image", "/robot/b/image_raw"),
        ("b/camera_info", "/b/i"),
        ("b/depth", "/b/d"),
    ]
    assert remappings(["a"], value)[1] == ("camera_info", "/a/i")
    with pytest.raises(ValueError, match="image: with `cameras`"):
        remappings(["a", "b"], {**value, "image": "/image"})


def test_the_scenarios_of_launch_testing_are_tests() -> None:
    """Check the names that no other test sees where launch is not installed."""
    tree = ast.parse((HERE / "test_launch_scenarios.py").read_text())
    scenarios = ast.literal_eval(assigned("SCENARIOS", tree))
    for file, test in scenarios.values():
        assert f"\ndef {test}(" in (HERE / file).read_text()


@pytest.mark.ros
def test_rviz_subscribes_to_what_the_node_publishes(ros: ModuleType) -> None:
    node = ros.create_node("infinitevggt")
    StreamPublisher(node, Settings(), lambda *_: None)
    for display in DISPLAYS:
        topic = display["Topic"]
        if topic["Value"] == "/camera/image_raw":
            continue
        (offered,) = node.get_publishers_info_by_topic(topic["Value"])
        assert offered.topic_type == DISPLAY_TYPES[display["Class"]]
        qos = offered.qos_profile
        assert topic["Reliability Policy"].lower() == qos.reliability.name.lower()
        assert topic["Durability Policy"].lower().replace(" ", "_") == qos.durability.name.lower()
        assert topic["History Policy"] == "Keep Last"
    node.destroy_node()


def load_launch_file() -> Any:
    pytest.importorskip("launch_ros")  # `launch` alone would be found: our own directory
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    return get_launch_description_from_python_launch_file(str(LAUNCH_FILE))


def test_every_argument_has_a_description_and_its_default() -> None:
    from_file = load_launch_file().get_launch_arguments()
    assert all(argument.description for argument in from_file)
    defaults = {
        argument.name: "".join(part.text for part in argument.default_value)
        for argument in from_file
    }
    assert Path(defaults.pop("params_file")).samefile(ROOT / "config" / "stream.yaml")
    assert defaults == {name: text for name, text in ARGUMENTS.items() if text is not None}


@pytest.fixture
def run_launch_file(
    spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    pytest.importorskip("launch_ros")
    before = [path for path in [os.environ.get("AMENT_PREFIX_PATH"), sys.prefix] if path]
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(before))

    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = ["-c", RUN_LAUNCH_FILE, str(LAUNCH_FILE), *arguments]
        started.append(spawn(sys.executable, *command))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:  # SIGINT takes what it started along, SIGTERM does not
            process.send_signal(signal.SIGINT)
            process.wait(20)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "5 images processed, 0 rejected"),
        (["namespace:=robot"], "5 images processed"),
        (["lockstep:=false"], "sent 5 messages"),
    ],
)
def test_a_bag_plays_through_the_node_and_ends_it(
    tmp_path: Path, run_launch_file: Callable[..., Any], arguments: list[str], expected: str
) -> None:
    bag = write_image_bag(tmp_path / "a.mcap", 5)
    status, output = finish(run_launch_file(f"bag:={bag}", *arguments))
    assert status == 0
    assert expected in output
    assert output.count("process has finished cleanly") == 2


@pytest.mark.ros
def test_a_bag_of_a_rig_plays_through_the_node(
    tmp_path: Path, run_launch_file: Callable[..., Any]
) -> None:
    topics = "/left/image_raw", "/right/image_raw"
    bag = write_image_bag(tmp_path / "rig.mcap", 3, topics=topics)
    status, output = finish(run_launch_file(f"bag:={bag}", "cameras:=left,right"))
    assert status == 0
    assert "6 images processed, 0 rejected" in output


@pytest.mark.ros
def test_a_missing_params_file_is_an_error(run_launch_file: Callable[..., Any]) -> None:
    status, output = finish(run_launch_file("params_file:=/nowhere.yaml"))
    assert status == 1
    assert "there is no file '/nowhere.yaml'" in output


@pytest.mark.ros
def test_ctrl_c_ends_it_cleanly(run_launch_file: Callable[..., Any]) -> None:
    process = run_launch_file("namespace:=robot")
    while "waiting for /camera/image_raw" not in (line := process.stdout.readline()):
        assert line, "the node ended by itself"
    process.send_signal(signal.SIGINT)
    status, output = finish(process)
    assert status == 0
    assert "process has finished cleanly" in output


@pytest.mark.ros
def test_the_viewer_listens_where_it_is_told_to(run_launch_file: Callable[..., Any]) -> None:
    pytest.importorskip("viser")
    process = run_launch_file("viewer:=true", "viewer_host:=127.0.0.1")
    while "viewer of /infinitevggt: http://127.0.0.1:" not in (line := process.stdout.readline()):
        assert line, "the viewer does not say where it is"
    process.send_signal(signal.SIGINT)
    finish(process)
