# SPDX-License-Identifier: Apache-2.0
"""Tests on the device "cuda": `make cuda-check` runs them on the null GPU, or on a real one.

On the null GPU PyTorch's own CUDA dispatch, allocator and graph capture run, and no kernel does:
tensors on the device read as zeros.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from support.null_gpu import is_null

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    reason = "needs a CUDA device, or the null GPU: make cuda-check"
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def device_without_cudnn() -> Iterator[None]:
    """cuDNN talks to the driver by itself, which the null GPU cannot answer."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if is_null():
        torch.backends.cudnn.enabled = False
        torch.backends.cuda.enable_cudnn_sdp(False)
    yield
    torch.set_num_threads(threads)
