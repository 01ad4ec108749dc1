# SPDX-License-Identifier: Apache-2.0
"""Old import path of `infinitevggt_core.model.checkpoint`, for scripts of earlier versions."""

from infinitevggt_core.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint"]
