# SPDX-License-Identifier: Apache-2.0
"""Files of a finished run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from infinitevggt_core.evaluation.tally import measures, trajectory_measures
from infinitevggt_ros.evaluation.frame_record import BAG_TOPICS, FrameRecord, result_bag
from infinitevggt_ros.evaluation.frames import Source
from infinitevggt_ros.evaluation.run_files import (
    SERIES,
    Array,
    keyframe_graph,
    machine,
    write_map_files,
    write_metrics,
    write_series,
    write_trajectories,
)
from infinitevggt_ros.evaluation.stream_run import RunResult
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.topics import NODE_MAP


def write_files(result: RunResult, source: Source, settings: Settings, out: Path) -> dict[str, Any]:
    """Write all files of a run but the page; return the contents of metrics.json, written last."""
    stamps_ns = result.log.used_stamps_ns()[-len(result.tally.poses[0]) :]
    found, truth = result.tally.poses
    write_trajectories(out, stamps_ns, found, truth, result.corrected)
    cloud = result.stream.map.cloud()
    arrays = write_map_files(out, cloud)
    if result.journal:
        with result_bag(out) as bag:
            result.journal.copy_to(bag, [*BAG_TOPICS])
            last_ns = stamps_ns[-1]
            bag.write(NODE_MAP, last_ns, FrameRecord(settings).map_message(cloud, last_ns))
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
