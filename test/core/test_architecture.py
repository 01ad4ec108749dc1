# SPDX-License-Identifier: Apache-2.0
"""The core does not depend on ROS."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.core_samples import CORE

FILES = sorted(CORE.rglob("*.py"))
ROS_SUFFIXES = ("_msgs", "_srvs", "_interfaces", "_msgs_py")
ROS_MODULES = {
    "ament_index_python",
    "builtin_interfaces",
    "cv_bridge",
    "infinitevggt_ros",
    "launch",
    "launch_ros",
    "message_filters",
    "rclpy",
    "rosbag2_py",
    "rosbags",
    "tf2_py",
    "tf2_ros",
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of the modules a file imports, at its top or inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield ast.unparse(node.args[0]).strip("'\"")


def name_of(path: Path) -> str:
    return str(path.relative_to(CORE))


def test_the_core_was_found() -> None:
    assert {"streaming/session.py", "model/vggt.py", "memory/kv_cache.py"} <= {
        name_of(path) for path in FILES
    }


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_core_imports_no_ros(path: Path) -> None:
    packages = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
    assert packages & ROS_MODULES == set()
    assert [name for name in packages if name.endswith(ROS_SUFFIXES)] == []


def test_importing_the_core_imports_no_ros() -> None:
    """Import the core in a fresh process, which no other test has affected."""
    program = "import sys, infinitevggt_core; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CORE.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    packages = {name.split(".")[0] for name in done.stdout.split()}
    assert "infinitevggt_core" in packages
    assert packages & ROS_MODULES == set()
    assert [name for name in packages if name.endswith(ROS_SUFFIXES)] == []


def test_every_public_name_exists() -> None:
    import infinitevggt_core

    assert sorted(infinitevggt_core.__all__) == sorted(set(infinitevggt_core.__all__))
    for name in infinitevggt_core.__all__:
        assert hasattr(infinitevggt_core, name)
