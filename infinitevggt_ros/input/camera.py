# SPDX-License-Identifier: Apache-2.0
"""One camera: topic, lens and counts of images."""

from collections.abc import Mapping

from sensor_msgs.msg import CameraInfo

from infinitevggt_ros.errors import Warn
from infinitevggt_ros.input.network_image import ImageConverter
from infinitevggt_ros.params.settings import InputSettings


class Camera:
    """Counts the images of one camera since the node started."""

    def __init__(self, name: str, topic: str, settings: InputSettings, warn: Warn) -> None:
        """name: empty for a single camera. topic: of the images. warn: throttled by kind."""
        self.name = name
        self.topic = topic
        self._warn = warn
        self.converter = ImageConverter(settings, topic, self.warn)
        self.received = self.dropped = self.processed = self.rejected = 0
        self.last_rejection = ""
        """Topic and reason of the last rejected image; empty if there was none."""

    @property
    def unusual(self) -> Mapping[str, int]:
        """Number of images of each kind of unusual encoding."""
        return self.converter.unusual

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, throttled separately for each camera."""
        self._warn(f"{kind} {self.name}", text)

    def calibrate(self, info: CameraInfo) -> None:
        """Use a calibration for the images that follow. Called in the executor."""
        self.converter.calibration = info
