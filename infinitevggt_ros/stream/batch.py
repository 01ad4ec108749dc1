# SPDX-License-Identifier: Apache-2.0
"""Images of several streams, in one forward pass of the network."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infinitevggt_core import Prediction, push_together
from infinitevggt_core.model.late_tensors import LatePrediction
from infinitevggt_ros.errors import Warn
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.output.frame_result import FramePose, FrameResult
from infinitevggt_ros.stream.stream import AdmittedImage, Stream

Batch = Sequence[tuple[Stream, Received]]
"""Images with their streams, no two of one stream."""
OnPose = Callable[[Stream, FramePose], None]
"""Receiver of poses that are known before the network's prediction."""


@dataclass(frozen=True, slots=True)
class BegunImage:
    """An image whose prediction is on its way from the device."""

    stream: Stream
    received: Received
    found: tuple[AdmittedImage, LatePrediction] | Exception
    """Exception: what `Stream.process` would raise for the image."""
    started_s: float
    """Time before the network, of time.monotonic."""

    def finish(self) -> FrameResult:
        """Wait for the prediction and add it to the world. Raises what was found instead."""
        if isinstance(self.found, Exception):
            raise self.found
        admitted, late = self.found
        prediction = late.read()
        self.stream.inference_s = time.monotonic() - self.started_s
        return self.stream.complete(admitted, prediction)


def begin_batch(
    batch: Batch, warn: Warn, on_pose: OnPose, finish_earlier: Callable[[], None]
) -> list[BegunImage]:
    """Start the network on the images; it may still run when this returns.

    The images of several streams pass the network together. If that fails, they pass it one by one,
    so that only the bad one is lost. finish_earlier: finishes the images that began before; called
    once, as soon as the network computes beside it, but before a stream restarts.
    """
    admitted = [_admit(stream, received) for stream, received in batch]
    good = [
        (stream, image)
        for (stream, _), image in zip(batch, admitted, strict=True)
        if isinstance(image, AdmittedImage)
    ]
    is_beside = all(s.computes_beside_host and not image.restart for s, image in good)

    def work_on_host() -> None:
        finish_earlier()
        for stream, ready in good:
            _follow(stream, ready, warn, on_pose)

    if not is_beside:
        work_on_host()
    started_s = time.monotonic()
    predictions = iter(_predict_together(good, warn))
    begun = []
    for (stream, received), image in zip(batch, admitted, strict=True):
        found: tuple[AdmittedImage, LatePrediction] | Exception
        if isinstance(image, AdmittedImage):
            found = _predict(stream, image, next(predictions))
        else:
            found = image
        begun.append(BegunImage(stream, received, found, started_s))
    if is_beside:
        work_on_host()
    return begun


def _admit(stream: Stream, received: Received) -> AdmittedImage | Exception:
    try:
        return stream.admit(received)
    except Exception as error:
        stream.refuse(received, error)
        return error


def _follow(stream: Stream, image: AdmittedImage, warn: Warn, on_pose: OnPose) -> None:
    """Pass on the pose of an image if it is known early. A failure leaves it to the result."""
    try:
        pose = stream.follow(image)
        if pose is not None:
            on_pose(stream, pose)
    except Exception as error:
        warn("early pose", f"no pose before the depth: {type(error).__name__}: {error}")


def _predict_together(
    images: Sequence[tuple[Stream, AdmittedImage]], warn: Warn
) -> Sequence[Prediction | None]:
    """Return a prediction for each image; None where the images must pass one by one."""
    if len(images) < 2:
        return [None] * len(images)
    try:
        for stream, image in images:
            stream.restart_for(image)
        sessions = [stream.session for stream, _ in images]
        return push_together(sessions, [image.network.pixels for _, image in images])
    except Exception as error:
        warn("together", f"the cameras are computed one by one: {error}")
        return [None] * len(images)


def _predict(
    stream: Stream, image: AdmittedImage, prediction: Prediction | None
) -> tuple[AdmittedImage, LatePrediction] | Exception:
    try:
        late = LatePrediction(prediction or stream.predict(image))
        stream.accept(image)
    except Exception as error:
        return error
    return image, late
