# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the core's tests; plain helpers are in core_samples.py."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT
from support.core_samples import State, small_frames, small_model


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """Every test draws the same random numbers, whichever ran before it; and on one thread:
    networks this small are no faster on two, and much slower where cores are shared."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model() -> VGGT:
    """A small network that tests share; none may change it."""
    return small_model()


@pytest.fixture(scope="session")
def frames() -> Tensor:
    """[16, 3, H, W]."""
    return small_frames(16)


@pytest.fixture
def state(model: VGGT) -> State:
    return {key: value.clone() for key, value in model.state_dict().items()}
