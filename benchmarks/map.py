# SPDX-License-Identifier: Apache-2.0
"""Time of fusing a frame while the map is full, and the memory of the map.

A camera walks through a room as large as the map; every frame has as many points as the network's
image. Example: python -m benchmarks.map --points 1000000 --size 392x518 --frames 60
"""

import argparse
import json
import time
from dataclasses import replace

import torch
from torch import Tensor

from infinitevggt_core import MapConfig, PointMap
from infinitevggt_core.mapping.view import View
from infinitevggt_core.model.geometry import world_points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--points", type=int, default=1_000_000, help="capacity of the map")
    add("--size", default="392x518", metavar="HxW", help="size of the network's image")
    add("--stride", type=int, default=MapConfig().pixel_stride, help="pixels")
    add("--frames", type=int, default=60, help="measured frames, after the map is full")
    add("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    height, width = map(int, options.size.split("x"))
    config = replace(MapConfig(), max_points=options.points, pixel_stride=options.stride)
    print(json.dumps(measure(config, height, width, options.frames)))


def measure(config: MapConfig, height: int, width: int, frames: int) -> dict[str, object]:
    """Return milliseconds per frame, including the removal of points."""
    point_map = PointMap(config)
    generator = torch.Generator().manual_seed(0)
    number = 0
    while len(point_map) < 0.85 * config.max_points:
        insert(point_map, number, height, width, generator)
        number += 1
    cpu_s = time.process_time()
    walls_ms = [
        1e3 * insert(point_map, number + later, height, width, generator) for later in range(frames)
    ]
    cpu_ms = 1e3 * (time.process_time() - cpu_s) / frames  # including the construction of the frame
    ordered = sorted(walls_ms)
    return {
        "points": len(point_map),
        "points_per_frame": (height // config.pixel_stride) * (width // config.pixel_stride),
        "threads": torch.get_num_threads(),
        "ms_median": round(ordered[len(ordered) // 2], 1),
        "ms_p95": round(ordered[int(0.95 * len(ordered))], 1),
        "ms_max": round(ordered[-1], 1),
        "cpu_ms_mean": round(cpu_ms, 1),
        "mbytes": round(point_map.nbytes / 1e6, 1),
    }


def insert(
    point_map: PointMap, number: int, height: int, width: int, generator: torch.Generator
) -> float:
    """Fuse one frame of a wavy wall along which the camera moves, and return the seconds."""
    focal = 0.8 * width
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    pose = torch.eye(3, 4)
    pose[0, 3] = -0.5 * number
    depth = 3 + 0.3 * torch.sin(torch.linspace(0, 20, width) + number).expand(height, width)
    depth = depth + 0.03 * torch.randn(height, width, generator=generator)
    points = world_points(depth[None], pose[None], intrinsics[None])[0]
    colors: Tensor = torch.rand(3, height, width, generator=generator)
    confidences = 1 + torch.rand(height, width, generator=generator)
    started_s = time.perf_counter()
    point_map.insert(points, colors, confidences, View(depth, pose, intrinsics))
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
