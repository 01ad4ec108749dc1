# SPDX-License-Identifier: Apache-2.0
"""Depth of a camera with a lens lies on its rectified images."""

from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infinitevggt_core import load_checkpoint, preprocess
from infinitevggt_core.training.clip import fit_depth
from infinitevggt_ros.evaluation.frames import Frame, Truth
from infinitevggt_ros.evaluation.stream_run import StreamRun
from infinitevggt_ros.input.calibration import read_calibration
from infinitevggt_ros.params.settings import Settings
from support.camera import image_message
from support.lens import HEIGHT, LENSES, NEAREST, WIDTH, lens_info, seen_depth, true_depth


@pytest.mark.parametrize("model", LENSES)
def test_depth_is_what_the_rectified_pixel_sees(model: str) -> None:
    seen, true = seen_depth(model), true_depth()
    calibration = read_calibration(lens_info(model), (HEIGHT, WIDTH), is_rectified=False)
    assert calibration is not None
    found = calibration.rectified_depth(seen)
    known = found > 0
    assert known.mean() > 0.8
    assert set(np.unique(found[known])) <= set(np.unique(seen)), "depths are not mixed"
    off = (found - true)[known]
    assert abs(off).max() < NEAREST < abs(seen - true).max()
    assert abs(off.mean()) < 0.001, "half a pixel would be 0.005"


class OneFrame:
    """A source of one image, whose depth is seen through a lens at twice the resolution."""

    name, topic, frame_count, farthest_m = "lens", "/image_raw", 1, inf
    chosen: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.calibration = lens_info("plumb_bob")

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        depth = seen_depth("plumb_bob").repeat(2, axis=0).repeat(2, axis=1)
        yield Frame(image_message(picture, 10**9), Truth(np.eye(3, 4), depth))

    def surface(self) -> None:
        return None


def test_an_evaluation_compares_with_depth_without_the_lens(tmp_path: Path) -> None:
    model = load_checkpoint("tiny")
    run = StreamRun(OneFrame(), Settings(), model, tmp_path, result_bag=False)
    result = run.run()
    assert result is not None
    found = result.strips.shown[0]["truth"]
    _, pixel_map = preprocess(np.zeros((HEIGHT, WIDTH, 3), np.uint8), model.config.img_size)
    off = (found - fit_depth(true_depth(), pixel_map))[np.isfinite(found)]
    assert off.size > 0.8 * found.size
    assert abs(off).max() < NEAREST
