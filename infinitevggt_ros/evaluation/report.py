# SPDX-License-Identifier: Apache-2.0
"""Files of a finished run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from infinitevggt_core.evaluation.tally import measures, trajectory_measures
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.evaluation.frame_record import BAG_TOPICS, LATCHED, map_header
from infinitevggt_ros.evaluation.frames import Source
from infinitevggt_ros.evaluation.run_files import (
    SERIES,
    Array,
    keyframe_graph,
    machine,
    write_cloud,
    write_metrics,
    write_series,
    write_trajectories,
)
from infinitevggt_ros.evaluation.stream_run import RunResult
from infinitevggt_ros.output.messages import cloud
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.topics import NODE_MAP


def write_files(result: RunResult, source: Source, settings: Settings, out: Path) -> dict[str, Any]:
    """Write all files of a run but the page; return the contents of metrics.json, written last."""
    stamps_ns = result.log.used_stamps_ns()[-len(result.tally.poses[0]) :]
    found, truth = result.tally.poses
    write_trajectories(out, stamps_ns, found, truth, result.corrected)
    arrays = write_cloud(out, result.stream.map.cloud())
    if result.journal:
        write_bag(result, out / "result.mcap", stamps_ns[-1], arrays, settings)
    source_of_poses = result.stream.pose_source
    graph = keyframe_graph(source_of_poses.keyframes(), source_of_poses.loops())
    final = found if result.corrected is None else result.corrected
    trajectories = (*result.tally.poses, final)
    write_series(out / SERIES, stamps_ns, trajectories, graph, arrays, result.log, result.strips)
    figures = {
        "name": source.name,
        "source": source.chosen,
        **measures(result.tally, source.surface()),
        "trajectory_corrected": corrected_measures(result, truth),
        "run": result.log.figures(),
        "parameters": asdict(settings),
        "machine": machine(result.stream.session.model.device),
    }
    write_metrics(out, figures)
    return figures


def corrected_measures(result: RunResult, truth: Array) -> dict[str, Any] | None:
    """Return the errors of the trajectory after all corrections; None without it or the truth."""
    if result.corrected is None:
        return None
    return trajectory_measures(np.stack((result.corrected, truth)))


def write_bag(
    result: RunResult, path: Path, stamp_ns: int, arrays: tuple[Any, ...], settings: Settings
) -> None:
    """Write what the node would have published, and the map as it is at the end."""
    assert result.journal
    with BagWriter(path, overwrite=True) as bag:
        for topic, kind in BAG_TOPICS.items():
            bag.add_topic(topic, kind, latched=topic in LATCHED)
        result.journal.copy_to(bag, [*BAG_TOPICS])
        bag.write(
            NODE_MAP, stamp_ns, serialize_message(cloud(map_header(settings, stamp_ns), *arrays))
        )
