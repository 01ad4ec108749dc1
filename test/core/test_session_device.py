# SPDX-License-Identifier: Apache-2.0
"""Moving a stream to another device and back."""

import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT, StreamSession
from support.core_samples import EVICTING, assert_same, push_all, small_model


def test_a_stream_goes_on_on_another_device(frames: Tensor) -> None:
    """Move from the CPU to the CPU: all state moves along."""
    stayed, moved = (StreamSession(small_model(), EVICTING) for _ in range(2))
    for session in (stayed, moved):
        push_all(session, frames[:4])
    moved.to("cpu")
    assert_same(push_all(moved, frames[4:]), push_all(stayed, frames[4:]))


def test_a_device_without_room_leaves_the_stream_where_it_was(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = StreamSession(small_model(), EVICTING)
    push_all(session, frames[:2])
    went: list[str] = []
    move = VGGT.to

    def fail(_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(session, "load_state_dict", fail)
        patch.setattr(VGGT, "to", lambda self, to: (went.append(str(to)), move(self, to))[1])
        with pytest.raises(torch.OutOfMemoryError):
            session.to(torch.device("cpu", 0))
    assert went == ["cpu:0", "cpu"]
    assert session.push(frames[2]).depth.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_stream_that_left_the_gpu_holds_none_of_it(frames: Tensor) -> None:
    before = torch.cuda.memory_allocated()
    session = StreamSession(small_model().cuda(), EVICTING)
    push_all(session, frames[:4])
    session.to("cpu")
    assert torch.cuda.memory_allocated() == before
    session.to("cuda")
    assert session.push(frames[4]).depth.isfinite().all()
