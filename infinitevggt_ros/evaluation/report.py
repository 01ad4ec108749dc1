# SPDX-License-Identifier: Apache-2.0
"""Files of a finished run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from infinitevggt_core.evaluation.tally import known_poses, measures, trajectory_measures
from infinitevggt_core.io.pcd import write_pcd
from infinitevggt_core.io.ply import write_ply
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.evaluation.frame_record import BAG_TOPICS, LATCHED, map_header
from infinitevggt_ros.evaluation.frames import Source
from infinitevggt_ros.evaluation.run_files import (
    MAP_TO_WORLD,
    SERIES,
    Array,
    keyframe_graph,
    machine,
    write_metrics,
    write_poses,
    write_series,
)
from infinitevggt_ros.evaluation.stream_run import RunResult
from infinitevggt_ros.map_axes import points_in_map
from infinitevggt_ros.output.messages import cloud
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.topics import NODE_MAP


def write_files(result: RunResult, source: Source, settings: Settings, out: Path) -> dict[str, Any]:
    """Write all files of a run but the page; return the contents of metrics.json, written last."""
    stamps_ns = result.log.used_stamps_ns()[-len(result.tally.poses[0]) :]
    found, truth = result.tally.poses
    write_poses(out / "trajectory.tum", stamps_ns, found, MAP_TO_WORLD)
    if result.corrected is not None:
        write_poses(out / "corrected.tum", stamps_ns, result.corrected, MAP_TO_WORLD)
    known = known_poses(result.tally.poses)
    if known.any():
        true_stamps_ns = [ns for ns, there in zip(stamps_ns, known, strict=True) if there]
        note = "the optical frame in the truth's world, metres"
        write_poses(out / "truth.tum", true_stamps_ns, truth[known], np.eye(3), note)
    points = result.stream.map.cloud()
    positions = points_in_map(points.positions.numpy())
    arrays = (positions, points.colors.numpy(), points.confidences.numpy())
    write_ply(out / "map.ply", *arrays)
    write_pcd(out / "map.pcd", *arrays)
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
