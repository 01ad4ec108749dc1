# SPDX-License-Identifier: Apache-2.0
"""One frame of each stream through the network."""

from torch import Tensor

from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming.batching import SideBySide


def forward_frame(
    model: VGGT, images: Tensor, held: StreamMemory | SideBySide, *, starts: bool, points: bool
) -> Prediction:
    """images: (B, 3, H, W), the next of each of B streams; what they remember is `held`.

    starts: the streams begin with it. points: run the point head too.
    """
    levels = model.aggregator(
        images[:, None],
        held.attend,
        model.levels,
        starts=starts,
        observe=held.observe if held.watches_updates else None,
    )
    pose = model.camera_head(levels[model.config.depth - 1], held.attend_camera)
    size = (images.shape[-2], images.shape[-1])
    depth, depth_confidence = model.depth_head(levels, size)
    point_maps = model.point_head(levels, size) if points else ()
    maps = (pose, depth[..., 0], depth_confidence, *point_maps)
    return Prediction(*(frames[:, 0] for frames in maps))
