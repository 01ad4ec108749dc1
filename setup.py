# SPDX-License-Identifier: Apache-2.0
"""Entry point of `pip install .`; colcon never runs it (the build type is ament_cmake).

pip has no CMake step of its own, so build_ext runs the CMakeLists.txt that colcon uses and puts
what it installed where the ROS wheels of PyPI put theirs: shared libraries in <env>/lib, package
share in <env>/share, generated Python next to ours. Python packages of ROS that PyPI lacks come
from ros_shims/, and only if there is no ROS 2 on the machine: they never shadow a sourced ROS.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_ext import build_ext

NAME = "infinitevggt_ros"
HERE = Path(__file__).resolve().parent
CMAKE_SOURCES = [
    "CMakeLists.txt",
    "package.xml",
    "setup.cfg",
    "cmake",
    "msg",
    "srv",
    "launch",
    "config",
]
CMAKE_SOURCES += [NAME, "infinitevggt_core", "ros_shims"]
EXTRAS = ("browser", "colmap", "docs", "evo", "mesh", "onnx", "ray", "rerun", "viewer")
OVERLAY_INTERFACES = ["tf2_msgs"]
OVERLAY_PYTHON = ["cv_bridge", "sensor_msgs_py", "tf2_ros"]


def requirements(name: str) -> list[str]:
    lines = (HERE / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def sourced_prefixes() -> list[str]:
    """Return the prefixes of a sourced ROS 2; the environment of this Python is not one."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [p for p in prefixes if p and Path(p).resolve() != Path(sys.prefix).resolve()]


def installed_prefixes(root: Path = Path("/opt/ros")) -> list[str]:
    """Return the prefixes of a ROS 2 for this version of Python that is not sourced."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = root.glob(f"*/lib/{python}/*-packages/rclpy")
    return sorted({str(package.parents[3]) for package in found})


def found_prefixes() -> list[str]:
    """Return the prefixes of the ROS 2 to run with; empty if it comes from PyPI."""
    return sourced_prefixes() or installed_prefixes()


def missing(packages: list[str]) -> list[str]:
    """Return the `packages` to install from ros_shims/: all without a ROS 2, none beside one.

    A package that ROS 2 lacks is to be installed there (rosdep), not shadowed from here.
    """
    return [] if found_prefixes() else packages


def announcement() -> str:
    """Say where ROS 2 comes from."""
    if prefixes := found_prefixes():
        sourced = "" if sourced_prefixes() else "; source it before running"
        return f"ROS 2 of {', '.join(prefixes)} is used, ros_shims/ is not installed{sourced}"
    shims = ", ".join([*OVERLAY_PYTHON, *OVERLAY_INTERFACES])
    return f"no ROS 2 found: it comes from PyPI, and {shims} from ros_shims/"


def ros_prefixes() -> list[str]:
    """Return the prefixes of ROS packages to build with, those of the build environment first."""
    found = [str(Path(p).parents[2]) for p in sys.path if p.endswith("-packages")]
    found += [*found_prefixes(), sys.prefix]
    return [p for p in dict.fromkeys(found) if Path(p, "share/ament_index").is_dir()]


class BuildInterfaces(build_ext):
    def run(self) -> None:
        if self.inplace or self.editable_mode:
            raise SystemExit(
                "an editable install cannot hold the shared libraries of the messages: "
                "run `pip install .` once, then put this directory on PYTHONPATH"
            )
        prefixes = ros_prefixes()
        if not prefixes:
            raise SystemExit("no ROS 2 packages found: use pip with build isolation, or colcon")
        build = Path(self.build_temp).resolve() / "ros"
        stage = build / "stage"
        # a CMake cache would remember the paths of a build environment that is gone
        shutil.rmtree(build, ignore_errors=True)
        # a copy, because CMake refuses to export include directories below its source directory,
        # and numpy's are there when the environment is <checkout>/.venv
        source = build / NAME
        for name in CMAKE_SOURCES:
            copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
            source.mkdir(parents=True, exist_ok=True)
            copy(HERE / name, source / name)
        cmake_install(source, build / "main", stage, prefixes)
        for name in missing(OVERLAY_INTERFACES):
            cmake_install(source / "ros_shims" / name, build / name, stage, prefixes)

        # Python: the generated packages (<package>/msg and the typesupport modules)
        for package in stage.glob("lib/python3*/*-packages/*/msg"):
            shutil.copytree(
                package.parent,
                Path(self.build_lib, package.parent.name),
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__", "*.c"),
            )

        # what `ros2 run` and launch_ros look for, lib/<package>/<executable>: the ones CMake made
        # name an interpreter that may be gone, the console scripts of pip do not
        for path in (stage / "lib" / NAME).iterdir():
            path.write_text(f'#!/bin/sh\nexec "$(dirname "$0")/../../bin/{path.name}" "$@"\n')

        data: dict[str, list[str]] = {}
        for path in [
            *stage.glob("lib/*.so"),
            *stage.glob(f"lib/{NAME}/*"),
            *stage.glob("share/**/*"),
        ]:
            if path.is_file() and "__pycache__" not in path.parts:
                folder = str(path.parent.relative_to(stage))
                data.setdefault(folder, []).append(os.path.relpath(path, HERE))
        self.distribution.data_files = sorted(data.items())


def cmake_install(source: Path, build: Path, stage: Path, prefixes: list[str]) -> None:
    env = dict(os.environ, AMENT_PREFIX_PATH=os.pathsep.join(prefixes))
    # the environment's own cmake and ninja, where the machine has none and it is not activated
    env["PATH"] = os.pathsep.join([env.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    configure = ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build), "-DBUILD_TESTING=OFF"]
    configure += ["-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_INSTALL_PREFIX={stage}"]
    configure += [
        f"-DCMAKE_PREFIX_PATH={';'.join(prefixes)}",
        f"-DPython3_EXECUTABLE={sys.executable}",
    ]
    subprocess.check_call(configure, env=env)
    subprocess.check_call(["cmake", "--build", str(build), "--target", "install"], env=env)


class WithBinaries(Distribution):
    def has_ext_modules(self) -> bool:
        return True


if __name__ == "__main__":  # pip and setuptools run it as the main module
    print(f"infinitevggt_ros: {announcement()}", file=sys.stderr)
    overlay = missing(OVERLAY_PYTHON)
    libraries, ros = requirements("rosdep"), requirements("ros")
    setup(
        distclass=WithBinaries,
        cmdclass={"build_ext": BuildInterfaces},
        packages=[
            *find_packages(include=[f"{NAME}*", "infinitevggt_core*"]),
            *overlay,
        ],
        package_data={
            "infinitevggt_core": ["py.typed", "weights/*.safetensors"],
            "infinitevggt_ros": ["py.typed", "evaluation/page_files/*"],
        },
        package_dir={name: f"ros_shims/{name}" for name in overlay},
        # here and not in setup.cfg: ament_cmake copies setup.cfg into the metadata of a colcon
        # build, where rclpy is not a Python distribution
        setup_requires=[*requirements("build"), *(r for r in libraries if r.startswith("numpy"))],
        # a sourced ROS 2 has its own rclpy, numpy and OpenCV, and breaks on others
        install_requires=requirements("pip") + ([] if found_prefixes() else libraries + ros),
        data_files=[("share/" + NAME, ["package.xml"])],
        extras_require={
            name: requirements(f"extra/{name}")
            for name in [
                "browser",
                "colmap",
                "docs",
                "evo",
                "mesh",
                "onnx",
                "ray",
                "rerun",
                "viewer",
            ]
        },
        zip_safe=False,
    )
