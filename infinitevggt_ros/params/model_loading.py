# SPDX-License-Identifier: Apache-2.0
"""Loading of the network: checkpoint, device, precision and threads."""

import torch

from infinitevggt_core import VGGT, load_checkpoint
from infinitevggt_core.model.kernels import has_fast_bf16
from infinitevggt_core.streaming.onnx_decoder import use_engine
from infinitevggt_ros.params.settings import ModelSettings
from infinitevggt_ros.processor import thread_count

BF16_WIDTH = 512
"""Width from which bf16 on a CPU gains more than a quarter (docs/memory.md)."""


def load_model(settings: ModelSettings) -> VGGT:
    """Return the network on its device. Raises ValueError naming a setting that cannot work."""
    torch.set_num_threads(thread_count(settings.threads))
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"model.device {device!r} is unavailable: {error}") from error
    model = load_checkpoint(settings.source, device=device)
    patch_size = model.config.patch_size
    if settings.image_size % patch_size:
        raise ValueError(f"model.image_size must be a multiple of {patch_size}")
    if settings.compile:
        try:
            model.compile_blocks()
        except RuntimeError as error:
            raise ValueError(f"model.compile cannot be true: {error}") from error
    model.cast(_precision(settings.precision, model))
    model.records_frames = settings.graph == "auto"
    try:
        use_engine(model, settings.engine)
    except ValueError as error:
        raise ValueError(f"model.engine cannot be {settings.engine}: {error}") from error
    return model


def _precision(name: str, model: VGGT) -> torch.dtype:
    if name == "auto":
        is_worth_it = model.device.type == "cuda" or model.config.embed_dim >= BF16_WIDTH
        return torch.bfloat16 if is_worth_it and has_fast_bf16(model.device) else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32
