# SPDX-License-Identifier: Apache-2.0
"""Program started by torchrun from test_two_processes.py: one gradient, then a short run."""

import sys
from pathlib import Path

import torch

from infinitevggt_core.training import Trainer, processes
from infinitevggt_core.training.schedule import FrameSubset, shape_at
from support.room_clips import RoomSource, room_clip
from support.runs import changed, small_student

torch.set_num_threads(1)
out = Path(sys.argv[1])
with processes("cpu") as joined:
    config = changed(
        clips={"frames_first": 3, "growth_steps": 0},
        optimizer={"steps": 3, "accumulate": 1},
    )
    run = Trainer(
        small_student(joined.rank),  # weights of the first process win
        RoomSource(),
        config,
        out / "run",
        validation=RoomSource(),
        processes=joined,
    )
    start = 5 * joined.rank
    parts = run.losses(room_clip(2, 3, start=start), FrameSubset.whole(3))
    torch.stack(list(parts.values())).sum().backward()
    gradients = {n: p.grad.clone() for n, p in run.student.model.named_parameters()}
    run.student.zero_grad(set_to_none=True)
    images = run.feed.batch(joined.rank, shape_at(0, config.clips, 14, 0)).images
    report = run.run()
    torch.save(
        {
            "weights": run.student.state_dict(),
            "gradients": gradients,
            "images": images,
            "images_index": start,
            "frames": report.frames,
        },
        out / f"{joined.rank}.pt",
    )
