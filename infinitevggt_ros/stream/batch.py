# SPDX-License-Identifier: Apache-2.0
"""Images of several streams, in one forward pass of the network."""

import time
from collections.abc import Callable, Sequence

from infinitevggt_core import Prediction, push_together
from infinitevggt_ros.errors import Warn
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.output.frame_result import FramePose, FrameResult
from infinitevggt_ros.stream.stream import AdmittedImage, Stream

Batch = Sequence[tuple[Stream, Received]]
"""Images with their streams, no two of one stream."""


OnPose = Callable[[Stream, FramePose], None]
"""Receiver of poses that are known before the network's prediction."""


def process_batch(
    batch: Batch, warn: Warn, on_pose: OnPose | None = None
) -> list[FrameResult | Exception]:
    """Return the result of each image, or what `Stream.process` would raise for it.

    The images of several streams pass the network together. If that fails, they pass it one by one,
    so that only the bad one is lost.
    """
    admitted = [_admit(stream, received) for stream, received in batch]
    good = [
        (stream, image)
        for (stream, _), image in zip(batch, admitted, strict=True)
        if isinstance(image, AdmittedImage)
    ]
    if on_pose is not None:
        for stream, ready in good:
            _follow(stream, ready, warn, on_pose)
    predictions = iter(_predict_together(good, warn))
    results: list[FrameResult | Exception] = []
    for (stream, _), image in zip(batch, admitted, strict=True):
        if isinstance(image, AdmittedImage):
            results.append(_complete(stream, image, next(predictions)))
        else:
            results.append(image)
    return results


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
    started_s = time.monotonic()
    try:
        for stream, image in images:
            stream.restart_for(image)
        sessions = [stream.session for stream, _ in images]
        predictions = push_together(sessions, [image.network.pixels for _, image in images])
    except Exception as error:
        warn("together", f"the cameras are computed one by one: {error}")
        return [None] * len(images)
    for stream, _ in images:
        stream.inference_s = time.monotonic() - started_s
    return predictions


def _complete(
    stream: Stream, image: AdmittedImage, prediction: Prediction | None
) -> FrameResult | Exception:
    try:
        return stream.complete(image, prediction or stream.predict(image))
    except Exception as error:
        return error
