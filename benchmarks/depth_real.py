# SPDX-License-Identifier: Apache-2.0
"""Depth on real sequences beside a depth camera's, streamed with the default memory.

A sequence is a folder: images/%06d.jpg, and depth/%06d.png (16-bit millimetres, 0: no value) of
some of them. Depth from 0.1 to 8 m counts, with one scale per sequence.

Example: python -m benchmarks.depth_real --data DATA --checkpoint tiny --json real.json
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from infinitevggt_core import (
    MemoryConfig,
    PixelMap,
    Prediction,
    StreamSession,
    load_checkpoint,
    preprocess,
)
from infinitevggt_core.evaluation.depth import depth_errors, fit_scale, spread

SEQUENCES = ("kitchen_7scenes", "desk_tum_xyz", "desk_tum_rpy", "walls_tum_notexture")
NEAREST_M, FARTHEST_M = 0.1, 8.0
PIXELS_PER_FRAME = 2000
Array = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of the sequences")
    add("--checkpoint", default="tiny", help="name or file (default: %(default)s)")
    add("--sequences", default=",".join(SEQUENCES), help="(default: %(default)s)")
    add("--frames", type=slice_of, default=slice(None), metavar="A:B[:STEP]", help="images to use")
    add("--threads", type=int, default=1, help="(default: %(default)s)")
    add("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    session = StreamSession(load_checkpoint(options.checkpoint), MemoryConfig())
    rows = {}
    for name in options.sequences.split(","):
        images = sorted((options.data / name / "images").iterdir())[options.frames]
        rows[name] = measure(session, images)
        print(f"{name:22s}", "  ".join(f"{k} {v:.3f}" for k, v in rows[name].items()), flush=True)
    ratio = np.mean([row["absrel"] / row["one_depth"] for row in rows.values()])
    print(f"mean AbsRel / that of one depth everywhere: {ratio:.3f}")
    if options.json:
        options.json.write_text(json.dumps({"sequences": rows, "ratio": float(ratio)}, indent=1))


def slice_of(text: str) -> slice:
    """A:B[:STEP] as in Python."""
    return slice(*(int(part) if part else None for part in text.split(":")))


def measure(session: StreamSession, images: Sequence[Path]) -> dict[str, float]:
    """Depth errors of one sequence.

    absrel: one scale per sequence; delta125: share of pixels within a factor of 1.25; confident:
    AbsRel of the half of the pixels with the highest confidence; one_depth: AbsRel of one depth
    everywhere; own_scale: AbsRel with a scale for each frame.
    """
    frames = list(compare(session, images))
    found, truth, confidence = (np.concatenate(parts) for parts in zip(*frames, strict=True))
    scale, _ = fit_scale(found, truth)
    scaled = np.minimum(scale * found, FARTHEST_M)
    errors = depth_errors(scaled, truth, scale)
    confident = confidence >= np.median(confidence)
    each = [depth_errors(fit_scale(d, t)[0] * d, t, 1.0).absrel for d, t, _ in frames]
    return {
        "absrel": errors.absrel,
        "delta125": errors.delta125,
        "confident": depth_errors(scaled[confident], truth[confident], scale).absrel,
        "one_depth": depth_errors(np.full_like(truth, np.median(truth)), truth, 1.0).absrel,
        "own_scale": float(np.mean(each)),
    }


def compare(session: StreamSession, images: Sequence[Path]) -> Iterator[tuple[Array, ...]]:
    """Stream the images; per image with truth: depth, true depth and confidence (N,)."""
    session.reset()
    for path in tqdm(images, leave=False, disable=None):
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise FileNotFoundError(path)
        rgb = np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)
        image, place = preprocess(rgb, session.model.config.img_size)
        prediction = session.push(image)
        measured = path.parent.parent / "depth" / f"{path.stem}.png"
        if measured.exists():
            yield pixels_with_truth(prediction, place, measured)


def pixels_with_truth(prediction: Prediction, place: PixelMap, measured: Path) -> tuple[Array, ...]:
    """Depth, true depth in metres and confidence (N,) of at most PIXELS_PER_FRAME pixels."""
    truth = np.asarray(cv2.imread(str(measured), cv2.IMREAD_UNCHANGED), dtype=np.float64) / 1000
    depth = place.to_camera(prediction.depth[0].float().numpy())
    confidence = place.to_camera(prediction.depth_confidence[0].float().numpy())
    known = np.flatnonzero((truth > NEAREST_M) & (truth < FARTHEST_M) & np.isfinite(depth))
    chosen = known[spread(len(known), PIXELS_PER_FRAME)] if len(known) else known
    return tuple(x.ravel()[chosen].astype(np.float64) for x in (depth, truth, confidence))


if __name__ == "__main__":
    main()
