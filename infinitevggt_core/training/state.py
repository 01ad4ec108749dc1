# SPDX-License-Identifier: Apache-2.0
"""State of a run, saved atomically in one file, from which it resumes."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.training.config import TrainConfig

STATE_NAME = "state.pt"


@dataclass(slots=True)
class RunState:
    """Numbers and tensors that the next step depends on. The position in the data is the step
    number."""

    step: int
    config: TrainConfig
    model_config: ModelConfig
    student: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizers: dict[str, Any]
    random: dict[str, Any]
    best_score: float = float("inf")
    frames: int = 0
    seconds: float = 0.0
    skipped: dict[str, int] = field(default_factory=dict)

    def save(self, directory: Path) -> None:
        """Write directory/state.pt."""
        values = {name: getattr(self, name) for name in RunState.__slots__}
        values |= {"config": asdict(self.config), "model_config": asdict(self.model_config)}
        with whole_file(directory / STATE_NAME) as partial:
            torch.save(values, partial)

    @classmethod
    def load(cls, directory: Path) -> "RunState":
        """Read directory/state.pt. Raises FileNotFoundError if there is none."""
        values = torch.load(directory / STATE_NAME, map_location="cpu", weights_only=True)
        values["config"] = TrainConfig.of(values["config"])
        values["model_config"] = ModelConfig(**values["model_config"])
        return cls(**values)


def random_state() -> dict[str, Any]:
    """Return the states of PyTorch's generators."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": devices}


def set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
