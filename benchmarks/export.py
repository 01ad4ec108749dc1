# SPDX-License-Identifier: Apache-2.0
"""Quality of exports: reprojection error of the COLMAP model, and mesh against the true surface.

Each sequence is streamed as `infinitevggt run` does and exported as `infinitevggt export` does.
The mesh is aligned to the truth by Sim(3) of the camera centres and ICP, and compared with the part
of the world's surface that the camera saw. A line of JSON for each sequence.
Examples: python -m benchmarks.export --levels easy standard --seeds 10000
          python -m benchmarks.export --data DIR --names kitchen_7scenes
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree

from benchmarks.real_sequences import Sequence, load_real, load_world
from infinitevggt_core import MapConfig, MemoryConfig, load_checkpoint
from infinitevggt_core.evaluation.cloud import cloud_errors, refine
from infinitevggt_core.evaluation.similarity import Array, Similarity
from infinitevggt_core.evaluation.synthetic_world import SEEN_M, SURFACE_POINTS, as_array
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.model.geometry import world_points
from infinitevggt_core.worlds import World
from infinitevggt_core.worlds.config import WorldConfig
from infinitevggt_ros.export.colmap import write_colmap
from infinitevggt_ros.export.mesh import write_mesh
from infinitevggt_ros.export.run_folder import RunFolder, RunWriter
from infinitevggt_ros.live.calibration_file import info_of_matrix
from infinitevggt_ros.live.sources import SourceFrame
from infinitevggt_ros.live.stream import LiveStream
from infinitevggt_ros.map_axes import MAP_FROM_WORLD

MOTION = "handheld"
RUN, COLMAP, MESH = "run", "colmap", "mesh.ply"
"""Names of the run and its exports in a folder."""
SIZE, STRIDE = (180, 240), 4
"""Height and width of a world's images, px, and frames from image to image."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", default="tiny")
    add("--levels", nargs="*", default=[], help="levels of synthetic worlds")
    add("--seeds", nargs="*", type=int, default=[10_000])
    add("--data", type=Path, help="directory of real sequences, as benchmarks.real reads them")
    add("--names", nargs="*", default=[], help="real sequences")
    add("--frames", type=int, default=40, help="images of each sequence")
    options = parser.parse_args()
    for sequence, world in _sequences(options):
        print(json.dumps(measure(sequence, options.checkpoint, world)), flush=True)


def _sequences(options: argparse.Namespace) -> Iterator[tuple[Sequence, World | None]]:
    for level in options.levels:
        for seed in options.seeds:
            yield film(level, seed, options.frames)
    for name in options.names:
        yield load_real(options.data / name).piece(0, options.frames), None


def measure(sequence: Sequence, checkpoint: str, world: World | None) -> dict[str, Any]:
    """Return the figures of one sequence; those of the mesh need the world."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        poses = stream_into(sequence, checkpoint, folder / RUN)
        return figures_of(folder, poses, sequence, world)


def film(level: str, seed: int, frames: int) -> tuple[Sequence, World]:
    """Return images of a synthetic world, and the world."""
    world = World(seed, config=WorldConfig.of(level, motion=MOTION))
    return load_world(level, seed, frames, MOTION, size=SIZE, stride=STRIDE), world


def figures_of(
    folder: Path, poses: Array, sequence: Sequence, world: World | None
) -> dict[str, Any]:
    """Export the run in a folder beside it; return the figures.

    poses: as `stream_into` returns them. world: None leaves the mesh out.
    """
    run, out = RunFolder(folder / RUN), folder / COLMAP
    images, points, error_px = write_colmap(run, out)
    figures = {
        "name": sequence.name,
        "frames": len(sequence.images),
        "keyframes": images,
        "colmap_points": points,
        "reprojection_px_median": round(error_px, 3),
        "reprojection_px_median_pycolmap": _error_by_colmap(out / "sparse" / "0"),
    }
    if world is not None:
        write_mesh(run, folder / MESH)
        figures["mesh"] = mesh_errors(folder / MESH, poses, sequence, world)
    return figures


def stream_into(sequence: Sequence, checkpoint: str, out: Path) -> Array:
    """Stream a sequence into the folder of a run; return the corrected poses (N, 3, 4), NaN where
    unknown."""
    writer = RunWriter(out)
    info = info_of_matrix(sequence.intrinsics, sequence.images[0].shape[:2])
    stream = LiveStream(
        load_checkpoint(checkpoint),
        MemoryConfig(),
        MapConfig(),
        info=info,
        sink=writer,
        background=False,
    )
    stamps_ns = [round(1e9 * (1 + stamp_s)) for stamp_s in sequence.stamps_s]
    for stamp_ns, image in zip(stamps_ns, sequence.images, strict=True):
        rgb = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        stream.process(SourceFrame(stamp_ns, np.asarray(rgb, np.uint8)))
    known = dict(zip(*stream.trajectory(), strict=True))
    writer.finish(stream.mapper.keyframe_poses(), {})
    stream.close()
    return np.stack([known.get(stamp_ns, np.full((3, 4), np.nan)) for stamp_ns in stamps_ns])


def mesh_errors(path: Path, poses: Array, sequence: Sequence, world: World) -> dict[str, float]:
    """Return the errors of a mesh (m) against the surface that was seen.

    poses: camera_from_map (N, 3, 4), OpenCV axes, NaN where unknown.
    """
    o3d: Any = import_module("open3d")
    mesh = o3d.io.read_triangle_mesh(str(path))
    sampled = np.asarray(mesh.sample_points_uniformly(SURFACE_POINTS).points)
    known = np.isfinite(poses).all(axis=(1, 2))
    into_truth = Similarity.of(camera_centers(poses[known]), camera_centers(sequence.truth[known]))
    surface, normals = (as_array(part) for part in world.surface(SURFACE_POINTS))
    seen = cKDTree(_seen_points(sequence)).query(surface, distance_upper_bound=SEEN_M)[0] < SEEN_M
    surface, normals = surface[seen], normals[seen]
    placed = refine(into_truth(sampled @ MAP_FROM_WORLD[:3, :3]), surface)
    errors = asdict(cloud_errors(placed, surface, normals))
    return {name: round(value, 4) for name, value in errors.items()}


def _seen_points(sequence: Sequence) -> Array:
    """Return the pixels (M, 3) of the true depth maps in the world."""
    matrix = torch.from_numpy(sequence.intrinsics.copy())
    matrix[:2, 2] += 0.5  # pixel centres at 0.5
    clouds = [
        world_points(
            torch.from_numpy(depth).double(), torch.from_numpy(sequence.truth[index]), matrix
        )
        for index, depth in sequence.depths.items()
    ]
    return as_array(torch.stack(clouds)).reshape(-1, 3)


def _error_by_colmap(folder: Path) -> float | None:
    """Return the median reprojection error as COLMAP computes it, px; None without pycolmap."""
    try:
        pycolmap: Any = import_module("pycolmap")
    except ImportError:
        return None
    model = pycolmap.Reconstruction(folder)
    model.update_point_3d_errors()
    return round(float(np.median([point.error for point in model.points3D.values()])), 3)


if __name__ == "__main__":
    main()
