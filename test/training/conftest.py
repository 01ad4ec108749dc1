# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the training tests; plain helpers are in room_clips.py and runs.py."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """The same random numbers whichever test ran before, on one thread: networks this small are no
    faster on two."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
