"""The network of the settings, on its device, in its precision."""

import torch

from infinitevggt_core import VGGT, load_checkpoint
from infinitevggt_ros.settings import ModelSettings


def load_model(settings: ModelSettings) -> VGGT:
    """Raises ValueError naming the setting that cannot work."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"model.device {device!r} is not to be had: {error}") from error
    model = load_checkpoint(settings.source, device=device)
    patch_size = model.config.patch_size
    if settings.image_size % patch_size:
        raise ValueError(f"model.image_size must be a multiple of {patch_size}")
    precision = settings.precision
    half = precision == "bf16" or (precision == "auto" and model.device.type == "cuda")
    return model.cast(torch.bfloat16 if half else torch.float32)
