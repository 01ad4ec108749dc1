# SPDX-License-Identifier: Apache-2.0
"""Training: losses, data, distillation, and a loop that resumes exactly.

trainer = Trainer(initialise(ModelConfig.tiny(), 0, 1.0), WorldSource(), TrainConfig(), out)
trainer.run()
"""

from infinitevggt_core.training.clip import BadClipError, Clip, ClipShape, ClipSource
from infinitevggt_core.training.config import LossConfig, TrainConfig
from infinitevggt_core.training.processes import Processes, processes
from infinitevggt_core.training.state import RunState
from infinitevggt_core.training.student import initialise
from infinitevggt_core.training.trainer import DivergedError, Trainer, TrainReport

__all__ = [
    "BadClipError",
    "Clip",
    "ClipShape",
    "ClipSource",
    "DivergedError",
    "LossConfig",
    "Processes",
    "RunState",
    "TrainConfig",
    "TrainReport",
    "Trainer",
    "initialise",
    "processes",
]
