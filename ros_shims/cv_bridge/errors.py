# SPDX-License-Identifier: Apache-2.0
"""Stand-in for cv_bridge, only what infinitevggt_ros calls: its error."""


class CvBridgeError(TypeError):
    """An encoding that is unknown, or does not fit the image or the conversion asked for."""
