# SPDX-License-Identifier: Apache-2.0
"""Stream a directory of images through the network; write the camera poses and the fused map.

Example: python examples/stream_images.py photos/ --checkpoint lch01/StreamVGGT --out result
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from infinitevggt_core import MemoryConfig, PointMap, StreamSession, load_checkpoint
from infinitevggt_core.io.ply import write_ply

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "images", type=Path, help="directory of images, in the order of their names"
    )
    parser.add_argument("--checkpoint", default="tiny", help="name, file, directory or hub id")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--budget", type=int, default=600_000, help="tokens over all global layers")
    parser.add_argument(
        "--out", type=Path, default=Path("result"), help="directory for the results"
    )
    options = parser.parse_args()

    model = load_checkpoint(options.checkpoint, device=options.device)
    session = StreamSession(model, MemoryConfig(total_budget=options.budget))
    point_map = PointMap()
    poses = []
    for path in sorted(p for p in options.images.iterdir() if p.suffix.lower() in SUFFIXES):
        picture = np.asarray(Image.open(path).convert("RGB"))
        image, _ = model.preprocess(picture)
        prediction = session.push(image)
        point_map.insert(prediction.world_points()[0], image, prediction.depth_confidence[0])
        poses.append(prediction.camera_from_world[0].cpu().numpy())
        print(
            f"{path.name}: depth {prediction.depth.median().item():.3f}, "
            f"{sum(session.stored_tokens)} tokens, {session.memory_bytes / 1e6:.1f} MB"
        )
    if not poses:
        parser.error(f"no images in {options.images}")

    options.out.mkdir(parents=True, exist_ok=True)
    np.save(options.out / "camera_from_world.npy", np.stack(poses))  # (N, 3, 4), OpenCV axes
    cloud = point_map.cloud()
    write_ply(
        options.out / "map.ply",
        cloud.positions.numpy(),
        cloud.colors.numpy(),
        cloud.confidences.numpy(),
    )
    print(f"{len(point_map)} points, {len(poses)} poses in {options.out}")


if __name__ == "__main__":
    main()
