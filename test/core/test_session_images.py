# SPDX-License-Identifier: Apache-2.0
"""Images that a session takes, and its state after a push that failed."""

import pytest
import torch
from torch import Tensor

from infinitevggt_core import VGGT, MemoryConfig, StreamSession
from support.core_samples import (
    EVICTING,
    HEIGHT,
    SMALLEST,
    WIDTH,
    WINDOW,
    assert_same,
    push_all,
    small_model,
)


def test_images_of_any_precision_and_layout_are_taken(model: VGGT, frames: Tensor) -> None:
    image = frames[0].bfloat16()
    want = StreamSession(model).push(image.float())
    channels_last = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for same in (image, image.double(), image.half(), channels_last):
        assert_same([StreamSession(model).push(same)], [want])


def test_reset_takes_another_image_size_and_number_of_streams(model: VGGT) -> None:
    session = StreamSession(model, WINDOW)
    session.push(torch.rand(3, HEIGHT, WIDTH))
    session.reset()
    assert session.push(torch.rand(2, 3, WIDTH, HEIGHT)).depth.shape == (2, WIDTH, HEIGHT)


NAN = torch.full((3, HEIGHT, WIDTH), 0.5)


NAN[1, 2, 3] = torch.nan
WRONG_IMAGES = {
    "another size": torch.rand(3, WIDTH, HEIGHT),
    "not a multiple of the patch": torch.rand(3, HEIGHT, WIDTH + 1),
    "smaller than a patch": torch.rand(3, 0, WIDTH),
    "four channels": torch.rand(4, HEIGHT, WIDTH),
    "more streams": torch.rand(2, 3, HEIGHT, WIDTH),
    "no stream": torch.rand(0, 3, HEIGHT, WIDTH),
    "a clip": torch.rand(1, 1, 3, HEIGHT, WIDTH),
    "no channels": torch.rand(HEIGHT, WIDTH),
    "bytes": torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8),
    "not a number": NAN,
    "infinite": torch.full((3, HEIGHT, WIDTH), torch.inf),
}
FIT_A_NEW_STREAM = ("another size", "more streams")


@pytest.mark.parametrize(
    ("name", "pushed"),
    [(name, 4) for name in WRONG_IMAGES]
    + [(name, 0) for name in WRONG_IMAGES if name not in FIT_A_NEW_STREAM],
)
def test_a_wrong_image_leaves_the_stream_as_it_was(
    model: VGGT, frames: Tensor, name: str, pushed: int
) -> None:
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:pushed])
    with pytest.raises(ValueError, match="image"):
        session.push(WRONG_IMAGES[name])
    assert session.frame_index == pushed
    got = push_all(session, frames[pushed:])
    assert_same(got, push_all(StreamSession(model, EVICTING), frames)[pushed:])


@pytest.mark.parametrize("part", ["aggregator", "camera_head", "depth_head"])
@pytest.mark.parametrize("pushed", [0, 4])
def test_an_interrupted_push_refuses_until_reset(
    frames: Tensor, part: str, pushed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    session = StreamSession(model, EVICTING)
    push_all(session, frames[:pushed])

    def fail(*_args: object, **_options: object) -> None:
        raise MemoryError("no memory for the map")

    with monkeypatch.context() as patch:
        patch.setattr(getattr(model, part), "forward", fail)
        with pytest.raises(MemoryError):
            session.push(frames[pushed])
    with pytest.raises(RuntimeError, match="interrupted"):
        session.push(frames[pushed])
    with pytest.raises(RuntimeError, match="interrupted"):
        session.state_dict()
    session.reset()
    assert_same(push_all(session, frames), push_all(StreamSession(model, EVICTING), frames))


def test_a_first_image_that_was_refused_fixes_nothing(model: VGGT) -> None:
    session = StreamSession(model, MemoryConfig(total_budget=SMALLEST))
    with pytest.raises(ValueError, match="smallest that works"):
        session.push(torch.rand(3, 2 * HEIGHT, 2 * WIDTH))
    session.configure(session.memory)
    assert session.push(torch.rand(2, 3, HEIGHT, WIDTH)).depth.shape == (2, HEIGHT, WIDTH)
