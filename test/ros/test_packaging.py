# SPDX-License-Identifier: Apache-2.0
"""Package metadata, the messages alone, and pip beside an installed ROS 2."""

import configparser
import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
OWN = {"infinitevggt_core", "infinitevggt_ros"}
KEYS = {
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
"""rosdep keys of imported packages; those of ROS packages are their names."""
OPTIONAL = {"launch", "launch_ros", "open3d", "playwright", "ray", "viser"}
"""Extras of pip, and what a headless robot does not need."""


@pytest.fixture
def setup_script() -> ModuleType:
    """setup.py as a module: nothing is installed."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def imported() -> set[str]:
    """Top-level packages that the two packages import."""
    found: set[str] = set()
    for package in OWN:
        for path in (ROOT / package).rglob("*.py"):
            found |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    return {name for name in found if name not in sys.stdlib_module_names} - OWN


def test_every_imported_package_is_declared() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {element.text for element in package if element.tag.endswith("depend")}
    missing = {
        name
        for name in imported() - OPTIONAL
        if KEYS.get(name, name) not in declared and name.lower() not in required("pip")
    }
    assert not missing


def test_the_lists_of_requirements_and_the_package_agree() -> None:
    """Dependencies for rosdep in package.xml, for pip, and those that its comment names."""
    text = (ROOT / "package.xml").read_text()
    declared = set(re.findall(r"<exec_depend>(python3-[a-z]+)<", text))
    keys = {"opencv-python-headless": "opencv", "pillow": "pil", "pyyaml": "yaml"}
    assert declared == {f"python3-{keys.get(name, name)}" for name in required("rosdep")}
    [named] = re.findall(r"without a rosdep key \(([^)]*)\)", text)
    assert set(re.split(r",\s+", named)) == required("pip")


def required(name: str) -> set[str]:
    """Distributions of a file of requirements."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return {line.split("==")[0] for line in lines if line and not line.startswith("#")}


def test_a_headless_robot_needs_neither_rviz_nor_launch() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    needed = {element.text for element in package if element.tag in ("depend", "exec_depend")}
    assert not needed & {"rviz2", "launch", "launch_ros"}
    assert package.find("author") is not None


def test_the_two_descriptions_of_the_package_agree() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    maintainer = package.find("maintainer")
    assert maintainer is not None
    assert (
        dict(setup["metadata"]).items()
        >= {
            "name": package.findtext("name"),
            "version": package.findtext("version"),
            "author": package.findtext("author"),
            "maintainer": maintainer.text,
            "maintainer_email": maintainer.get("email"),
            "url": package.findtext("url"),
            "license": package.findtext("license"),
        }.items()
    )


def test_the_shims_are_installed_without_a_ros_and_said(
    setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    monkeypatch.setattr(setup_script, "installed_prefixes", list)
    assert setup_script.missing(["tf2_ros", "cv_bridge"]) == ["tf2_ros", "cv_bridge"]
    assert "no ROS 2 found" in setup_script.announcement()
    assert "tf2_ros" in setup_script.announcement()


def test_a_sourced_ros_is_never_shadowed(
    setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even one that lacks a package: that package belongs into it."""
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert setup_script.missing(["tf2_ros", "cv_bridge"]) == []
    assert str(tmp_path) in setup_script.announcement()
    assert "source it" not in setup_script.announcement()


def test_an_installed_ros_that_is_not_sourced_is_not_shadowed_either(
    setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (tmp_path / "kilted" / "lib" / python / "site-packages" / "rclpy").mkdir(parents=True)
    (tmp_path / "humble" / "lib" / "python3.1" / "site-packages" / "rclpy").mkdir(parents=True)
    found = setup_script.installed_prefixes(tmp_path)
    assert found == [str(tmp_path / "kilted")], "one for another Python cannot be used"
    monkeypatch.setattr(setup_script, "installed_prefixes", lambda: found)
    assert setup_script.missing(["tf2_ros"]) == []
    assert "source it before running" in setup_script.announcement()


def test_the_messages_build_alone(setup_script: ModuleType, tmp_path: Path) -> None:
    """For a computer that only listens: neither PyTorch nor this package's code."""
    pytest.importorskip("cmake", reason="requirements/build.txt")
    source, build, stage = tmp_path / "source", tmp_path / "build", tmp_path / "stage"
    source.mkdir()
    for name in ("CMakeLists.txt", "package.xml", "cmake", "msg", "srv"):
        (source / name).symlink_to(ROOT / name)
    prefixes = setup_script.ros_prefixes()
    env = dict(os.environ, AMENT_PREFIX_PATH=os.pathsep.join(prefixes))
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    settings = {
        "MESSAGES_ONLY": "ON",
        "BUILD_TESTING": "OFF",
        "CMAKE_INSTALL_PREFIX": str(stage),
        "CMAKE_PREFIX_PATH": ";".join(prefixes),
        "Python3_EXECUTABLE": sys.executable,
    }
    configure = [f"-D{name}={value}" for name, value in settings.items()]
    command = ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build), *configure]
    subprocess.run(command, check=True, env=env, capture_output=True)
    build_command = ["cmake", "--build", str(build), "--target", "install"]
    subprocess.run(build_command, check=True, env=env, capture_output=True)
    names = {path.name for path in stage.rglob("*.py")}
    assert {"_stream_status.py", "_use_file.py"} <= names
    assert not names & {"session.py", "stream_node.py"}
    assert list(stage.rglob("StreamStatus.msg"))
