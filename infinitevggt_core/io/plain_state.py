# SPDX-License-Identifier: Apache-2.0
"""Snapshots of numpy arrays as snapshots of tensors, which torch loads without running code."""

from typing import Any

import numpy as np
import torch


def with_tensors(state: Any) -> Any:
    """Return a snapshot whose numpy arrays and numbers are tensors and Python numbers."""
    if isinstance(state, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(state))
    if isinstance(state, np.generic):
        return state.item()
    if isinstance(state, dict):
        return {key: with_tensors(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(with_tensors(value) for value in state)
    return state


def with_arrays(state: Any) -> Any:
    """Return a snapshot whose tensors are numpy arrays: the inverse of `with_tensors`."""
    if isinstance(state, torch.Tensor):
        return state.numpy().copy()
    if isinstance(state, dict):
        return {key: with_arrays(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(with_arrays(value) for value in state)
    return state
