# SPDX-License-Identifier: Apache-2.0
"""A stream whose scale the test decides."""

from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_ros.params.settings import ScaleSettings, Settings
from infinitevggt_ros.stream.stream import Stream
from support.rig import SMALL

METRIC = Settings(model=SMALL, scale=ScaleSettings("depth", track=False, samples=2))


def use_scale(stream: Stream, metres_per_unit: float, relative_std: float = 0.0) -> None:
    """Let the stream know its scale, as if it had measured it."""
    samples = stream.settings.scale.samples
    estimate = ScaleEstimate(samples)
    for _ in range(samples):
        estimate.add(metres_per_unit, 1.0, relative_std)
    stream.scale.restore(metres_per_unit, estimate)
