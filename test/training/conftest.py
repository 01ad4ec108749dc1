# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the training tests. Plain helpers are in test/support."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """Seed all generators and use one thread, which is faster for networks this small."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
