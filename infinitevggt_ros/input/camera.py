# SPDX-License-Identifier: Apache-2.0
"""One camera: where its images come from, its lens, and what became of them."""

from collections.abc import Callable

from sensor_msgs.msg import CameraInfo

from infinitevggt_ros.input.intake import Intake
from infinitevggt_ros.params.settings import InputSettings


class Camera:
    """Counts images since the node started."""

    def __init__(
        self, name: str, topic: str, settings: InputSettings, warn: Callable[[str, str], None]
    ) -> None:
        """name: empty where there is one camera. topic: of its images. warn(kind, text): the node's
        throttled warning."""
        self.name = name
        self.topic = topic
        self._warn = warn
        self.intake = Intake(settings, topic, self.warn)
        self.received = self.dropped = self.processed = self.rejected = 0
        self.last_rejection = ""
        """Topic and reason, empty when there was none."""

    def warn(self, kind: str, text: str) -> None:
        """The node's throttled warning; a kind of one camera's does not silence another's."""
        self._warn(f"{kind} {self.name}", text)

    def calibrate(self, info: CameraInfo) -> None:
        """Take its calibration, from the executor."""
        self.intake.calibration = info
