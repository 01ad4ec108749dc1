# SPDX-License-Identifier: Apache-2.0
"""The worker begins the next image before it finishes the one before, where a device computes
beside the host: here a CPU that says so, and images that arrive while the network runs."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest

from infinitevggt_core import Prediction
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.worker import Answer
from infinitevggt_ros.params.settings import InputSettings, Settings
from infinitevggt_ros.stream.stream import AdmittedImage, Stream
from support.camera import image_message
from support.rig import IMAGES, SMALL, Rig

COUNT = 6
STAMPS = range(1, COUNT + 1)
BACK = (11, 12, 3, 4, 5, 6)
"""Stamps that go back once."""
RESTARTING = Settings(model=SMALL, input=InputSettings(restart_after=1))


class Ahead:
    """A rig whose images arrive one after another while the network computes the one before."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        is_ahead: bool = True,
        settings: Settings | None = None,
        stamps: Iterable[int] = STAMPS,
    ) -> None:
        self.rig = Rig(settings)
        self.events: list[str] = []
        self.maps: list[int] = []
        """Map of each image that was finished."""
        self._images = zip(cycle(IMAGES), stamps, strict=False)
        predict, complete = Stream.predict, Stream.complete

        def predicted(stream: Stream, admitted: AdmittedImage) -> Prediction:
            self.events.append(f"begin {admitted.received.stamp_ns}")
            prediction = predict(stream, admitted)
            self.arrive()
            return prediction

        def completed(stream: Stream, admitted: AdmittedImage, prediction: Prediction) -> Any:
            self.events.append(f"finish {admitted.received.stamp_ns}")
            self.maps.append(stream.map_id)
            return complete(stream, admitted, prediction)

        monkeypatch.setattr(Stream, "predict", predicted)
        monkeypatch.setattr(Stream, "complete", completed)
        monkeypatch.setattr(Stream, "computes_beside_host", is_ahead)

    def arrive(self) -> None:
        """The next image, if there is one left."""
        for pixels, stamp in islice(self._images, 1):
            self.rig.worker.receive(image_message(pixels, stamp), self.rig.cameras[""])

    def run(self) -> None:
        """Compute all images."""
        self.arrive()
        while self.rig.worker.step():
            pass

    @property
    def outcomes(self) -> list[int]:
        return [status.outcome for status in self.rig.statuses]


def test_the_next_image_is_in_the_network_before_this_one_is_in_the_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead = Ahead(monkeypatch)
    ahead.run()
    order = ["begin 1"]
    for stamp in range(1, COUNT):
        order += [f"begin {stamp + 1}", f"finish {stamp}"]
    assert ahead.events == [*order, f"finish {COUNT}"]
    assert ahead.outcomes == [StreamStatus.PROCESSED] * COUNT
    assert ahead.rig.cameras[""].processed == COUNT


def test_results_are_those_of_one_image_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = []
    for is_ahead in (True, False):
        with monkeypatch.context() as patch:
            ahead = Ahead(patch, is_ahead)
            ahead.run()
        positions = ahead.rig.stream.map.cloud(most=10**6).positions.numpy()
        poses = [pose.pose.position for pose in ahead.rig.stream.trajectories[""].poses]
        worlds.append((positions, [(p.x, p.y, p.z) for p in poses]))
        assert ahead.events[1] == ("begin 2" if is_ahead else "finish 1")
    np.testing.assert_array_equal(worlds[0][0], worlds[1][0])
    assert worlds[0][1] == worlds[1][1]


def test_a_request_waits_for_the_image_that_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = Ahead(monkeypatch)
    ahead.arrive()
    ahead.rig.worker.step()
    assert ahead.events == ["begin 1"]
    answer = ahead.rig.worker.submit(lambda stream: str(len(stream.trajectories[""].poses)))
    ahead.rig.worker.step()
    assert answer.result() == Answer(True, "1")
    assert ahead.events[:2] == ["begin 1", "finish 1"]


def test_new_settings_wait_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = Ahead(monkeypatch)
    ahead.arrive()
    ahead.rig.worker.step()
    settings = ahead.rig.stream.settings
    ahead.rig.worker.configure(replace(settings, map=replace(settings.map, pixel_stride=1)))
    ahead.rig.worker.step()
    assert ahead.events[:2] == ["begin 1", "finish 1"]


def test_an_image_that_fails_costs_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = Ahead(monkeypatch)
    complete = Stream.complete

    def sometimes(stream: Stream, admitted: AdmittedImage, prediction: Prediction) -> Any:
        if admitted.received.stamp_ns == 3:
            raise MemoryError("no room in the map")
        return complete(stream, admitted, prediction)

    monkeypatch.setattr(Stream, "complete", sometimes)
    ahead.run()
    rejected, processed = StreamStatus.REJECTED, StreamStatus.PROCESSED
    assert ahead.outcomes == [processed, processed, rejected, *[processed] * (COUNT - 3)]
    assert ahead.rig.cameras[""].rejected == 1
    assert any("no room in the map" in text for text in ahead.rig.warnings)


def test_a_restart_leaves_the_image_before_it_in_the_old_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead = Ahead(monkeypatch, settings=RESTARTING, stamps=BACK)
    ahead.run()
    assert ahead.maps == [0, 0, 1, 1, 1, 1]
    assert ahead.events.index("finish 12") < ahead.events.index("begin 3")
    assert ahead.outcomes == [StreamStatus.PROCESSED] * len(BACK)


def test_the_end_finishes_what_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = Ahead(monkeypatch, stamps=(1, 2))
    ahead.arrive()
    ahead.rig.worker.step()
    ahead.rig.worker.start()
    assert ahead.rig.worker.stop()
    assert "finish 1" in ahead.events
