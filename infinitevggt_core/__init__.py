# SPDX-License-Identifier: Apache-2.0
"""InfiniteVGGT in plain PyTorch: streaming visual geometry with a bounded, evicting memory.

model = load_checkpoint("checkpoint or hub id")
session = StreamSession(model, MemoryConfig(policy="frames", total_budget=600_000))
prediction = session.push(image)  # [3, H, W] in [0, 1], one frame per call
"""

from infinitevggt_core.config import MapConfig, ModelConfig
from infinitevggt_core.mapping.point_map import PointCloud, PointMap
from infinitevggt_core.memory import MemoryConfig
from infinitevggt_core.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.preprocess import PixelMap, preprocess
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming.batching import push_together
from infinitevggt_core.streaming.session import StreamSession

__all__ = [
    "VGGT",
    "CheckpointError",
    "MapConfig",
    "MemoryConfig",
    "ModelConfig",
    "PixelMap",
    "PointCloud",
    "PointMap",
    "Prediction",
    "StreamSession",
    "load_checkpoint",
    "preprocess",
    "push_together",
    "save_checkpoint",
]
