# SPDX-License-Identifier: Apache-2.0
"""Write docs/parameters.md from the dataclasses that define the node's parameters.

Example: python docs/write_parameters.py
"""

import sys
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from infinitevggt_ros.params.parameters import as_markdown

PAGE = Path(__file__).with_name("parameters.md")
INTRODUCTION = """\
# Parameters

Every parameter of `stream_node`. This page is written by `python docs/write_parameters.py` from the
dataclasses that define the parameters; a test compares both. `config/stream.yaml` holds every
parameter with its default. Pass a copy as `params_file` of the launch file, or single values on the
command line:

    ros2 run infinitevggt_ros stream_node --ros-args -p memory.total_budget:=200000

The column *while running* tells when a parameter can change: at any time (yes), while the node is
unconfigured, or only at the start (no). A change that cannot work is rejected with the reason:

    ros2 param set /infinitevggt memory.total_budget 200000
    ros2 param set /infinitevggt memory.policy window
"""
HEADINGS = {
    "": "Input",
    "rig": "Several cameras (`rig.*`)",
    "time": "Time (`time.*`)",
    "model": "Network (`model.*`)",
    "memory": "Memory (`memory.*`)",
    "map": "Map (`map.*`)",
    "tf": "Frames (`tf.*`)",
    "pose": "Source of poses (`pose.*`)",
    "odometry": "Uncertainty of poses (`odometry.*`)",
    "scale": "Metric scale (`scale.*`)",
    "gravity": "Gravity (`gravity.*`)",
    "output": "Output (`output.*`)",
    "tracking": "Camera tracking (`tracking.*`)",
    "grid": "Occupancy grid (`grid.*`)",
    "files": "Files of services (`files.*`)",
    "state": "Saved streams (`state.*`)",
    "lifecycle": "Life cycle (`lifecycle.*`)",
}


def page() -> str:
    """Return the page: one table for each group of parameters."""
    head, rule, *rows = as_markdown().splitlines()
    sections = [INTRODUCTION]
    for group, members in groupby(rows, key=group_of):
        heading = HEADINGS.get(group, f"`{group}.*`")
        sections.append("\n".join([f"## {heading}", "", head, rule, *members, ""]))
    return "\n".join(sections)


def group_of(row: str) -> str:
    """Return the prefix of the parameter in a row of the table, empty if it has none."""
    name = row.split("`")[1]
    return name.rpartition(".")[0]


if __name__ == "__main__":
    PAGE.write_text(page())
