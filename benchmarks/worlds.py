# SPDX-License-Identifier: Apache-2.0
"""Rendering speed of synthetic worlds, and a contact sheet.

Examples: python -m benchmarks.worlds --level standard; python -m benchmarks.worlds --sheet out.png
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor

from infinitevggt_core.worlds import LEVELS, World, sample_clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--level", choices=LEVELS, help="level (default: all of them)")
    add("--size", default="112x154", metavar="HxW")
    add("--frames", type=int, default=200, help="frames of each trajectory")
    add(
        "--worlds",
        type=int,
        default=4,
        help=("number of trajectories, and of worlds in a batch of clips"),
    )
    add("--clip", type=int, default=6, help="frames of a clip")
    add(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help=("processor threads; 1 as in a data worker"),
    )
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add(
        "--sheet",
        type=Path,
        help=("write a contact sheet of 3 seeds per level, 3 frames each, instead"),
    )
    add("--seed", type=int, default=0, help="first seed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    height, width = map(int, options.size.split("x"))
    if options.sheet:
        write_sheet(options.sheet, options.seed, height, width, options.device)
        return
    for level in [options.level] if options.level else LEVELS:
        print(json.dumps(measure(level, height, width, options)), flush=True)


def measure(level: str, height: int, width: int, options: argparse.Namespace) -> dict[str, object]:
    """Return frames per second of trajectories, and of clips of new and of cached worlds."""
    device, seeds = options.device, range(options.seed, options.seed + options.worlds)
    World(10**6, level).render([0, 1], height, width, device)  # textures are made once
    started = time.perf_counter()
    worlds = [World(seed, level) for seed in seeds]
    made_s = (time.perf_counter() - started) / len(worlds)
    # as a stream would take them: all over the walk
    started = time.perf_counter()
    for world in worlds:
        world.render(range(options.frames), height, width, device)
    finish(device)
    walk_s = time.perf_counter() - started

    def clips(draw: int) -> float:
        started = time.perf_counter()
        sample_clips(seeds, options.clip, height, width, level=level, draw=draw, device=device)
        finish(device)
        return float(options.clip * len(seeds) / (time.perf_counter() - started))

    return {
        "level": level,
        "size": f"{height}x{width}",
        "device": device,
        "threads": torch.get_num_threads(),
        "walk_fps": round(options.frames * len(worlds) / walk_s, 1),
        "clips_of_new_worlds_fps": round(clips(0), 1),
        "clips_of_known_worlds_fps": round(clips(1), 1),
        "world_ms": round(1e3 * made_s, 1),
    }


def finish(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def write_sheet(path: Path, seed: int, height: int, width: int, device: str) -> None:
    """Write one row per world: three images, then their depth, where near is bright."""
    import cv2

    rows = []
    for level in LEVELS:
        for k in range(3):
            clips = World(seed + k, level).render([0, 70, 200], height, width, device)
            near = (0.6 / clips.depth).clamp(0, 1).sqrt()[:, None].expand_as(clips.images)
            rows.append(side_by_side(torch.cat((clips.images, near))))
    sheet = torch.cat(rows, dim=0)
    pixels = (sheet.flip(-1) * 255).round().byte().cpu().numpy()
    cv2.imwrite(str(path), cv2.resize(pixels, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC))


def side_by_side(images: Tensor) -> Tensor:
    """Concatenate (N, 3, H, W) to (H, N * W, 3)."""
    return images.permute(2, 0, 3, 1).flatten(1, 2)


if __name__ == "__main__":
    main()
