# SPDX-License-Identifier: Apache-2.0
"""Batch forward, a step of training and the fused map on CUDA."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infinitevggt_core import MapConfig, PointMap, StreamSession
from infinitevggt_core.training import Trainer, feed
from infinitevggt_core.training.processes import Processes
from support.core_samples import FRAMES, HEIGHT, SMALL, WIDTH, present, small_model
from support.null_gpu import is_null, waits
from support.runs import SHORT, changed, trainer


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["full", "causal", "window"])
def test_a_clip_at_once(attention: str, precision: torch.dtype) -> None:
    model = small_model().to("cuda").cast(precision)
    images = torch.rand(2, 4, 3, HEIGHT, WIDTH).to("cuda")
    with torch.no_grad():
        model(images, attention, window=2)  # makes the constants of this image size
        with waits() as found:
            prediction = model(images, attention, window=2)
    assert {x.device.type for x in present(prediction)} == {"cuda"}
    assert not found


def test_tracks() -> None:
    model = small_model(config=replace(SMALL, track=True)).to("cuda")
    queries = torch.tensor([[3.0, 4.0], [20.0, 10.0]])
    with torch.no_grad():
        prediction = model(torch.rand(1, 3, 3, 140, 140).to("cuda"), query_points=queries)
    assert {x.device.type for x in present(prediction)} == {"cuda"}
    assert prediction.tracks is not None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_of_training(
    optimizer: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_null():  # what the device computes there is any number
        monkeypatch.setattr(Trainer, "_refuse_nan", lambda *_: None)
        monkeypatch.setattr(feed, "faults", lambda clip: [""] * len(clip.images))
        config = changed(loss={"matching_weight": 0.0})  # prod() is compiled at run time
    else:
        config = SHORT
    config = changed(
        config,
        optimizer={"steps": 2, "optimizer": optimizer},
        student={"precision": precision},
    )
    run = trainer(tmp_path, config, processes=Processes(torch.device("cuda")))
    report = run.run()
    assert report.step == 2
    assert {p.device.type for p in run.student.parameters()} == {"cuda"}
    with waits() as found:
        run.train_step()
    assert found == {"trainer.py:on_host": 1}


def test_the_map_takes_a_frame_from_the_device() -> None:
    session = StreamSession(small_model().to("cuda"), FRAMES)
    image = torch.rand(3, HEIGHT, WIDTH)
    prediction = session.push(image)
    fused = PointMap(MapConfig(min_confidence=1.0))
    points, confidence = prediction.world_points()[0], prediction.depth_confidence[0]
    fused.insert(points, image.to("cuda"), confidence)
    assert fused.cloud(most=10).positions.device.type == "cpu"
