# SPDX-License-Identifier: Apache-2.0
"""Write a network as ONNX graphs of one frame, for other machines, and check them.

OUT.onnx decodes a frame, OUT_first.onnx the first frame of a stream. Keys and values of earlier
frames are inputs of a fixed size, those of the frame are outputs; docs/cuda.md describes them. Both
graphs are compared with PyTorch on 60 frames with eviction.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from infinitevggt_core import MemoryConfig, StreamSession, load_checkpoint
from infinitevggt_core.model.checkpoint import CheckpointError
from infinitevggt_core.model.onnx_graph import GraphSizes, export
from infinitevggt_core.streaming.onnx_decoder import check_engine
from infinitevggt_core.streaming.onnx_ring import RingStream
from infinitevggt_ros.errors import CommandError

EXAMPLE = "infinitevggt export-model tiny --onnx tiny.onnx"
TOLERANCE = 1e-3
"""Largest difference to PyTorch: of the pose encoding, and of depths relative to themselves."""


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("checkpoint", help="name, file, directory or hub id of the checkpoint to export")
    add("--onnx", type=Path, required=True, metavar="OUT.onnx", help="file to write")
    add(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="size of the images, multiples of the patch size; by default 3:4 at the width that "
        "the network was made for",
    )
    add("--frames", type=int, default=20, help="frames that the memory holds")
    add("--check-frames", type=int, default=60, help="frames to compare with PyTorch")


def run(options: argparse.Namespace) -> int:
    try:
        model = load_checkpoint(options.checkpoint).eval()
        check_engine(model)
    except (CheckpointError, ValueError) as error:
        raise CommandError(str(error)) from error
    if options.frames < 2:
        raise CommandError("--frames must be 2 or more: the first frame and the latest")
    patch, width = model.config.patch_size, model.config.img_size
    height, width = options.size or (patch * round(0.75 * width / patch), width)
    if height % patch or width % patch:
        raise CommandError(f"--size must be multiples of {patch}")
    tokens = model.aggregator.tokens_per_frame(height, width)
    sizes = GraphSizes(options.frames * tokens, options.frames, height, width)
    first = options.onnx.with_name(f"{options.onnx.stem}_first.onnx")
    for path, is_first in ((first, True), (options.onnx, False)):
        export(model, sizes, path, is_first=is_first, fixed=True)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    memory = MemoryConfig(policy="window", window=options.frames - 1)
    session, ring = StreamSession(model, memory), RingStream(model, first, options.onnx, sizes)
    pose_off = depth_off = 0.0
    generator = torch.Generator().manual_seed(0)
    for _ in range(options.check_frames):
        image = torch.rand(3, height, width, generator=generator)
        want, (pose, depth, _) = session.push(image), ring.push(image.numpy())
        pose_off = max(pose_off, float(np.abs(want.pose_encoding.numpy() - pose).max()))
        depth_off = max(depth_off, float(np.abs(depth / want.depth.numpy() - 1).max()))
    print(
        f"{options.check_frames} frames, {options.frames} held: largest difference to PyTorch "
        f"{pose_off:.1e} of the pose encoding, {depth_off:.1e} of the depth"
    )
    if not max(pose_off, depth_off) < TOLERANCE:
        raise CommandError(f"the graphs differ from PyTorch by more than {TOLERANCE}")
    return 0
