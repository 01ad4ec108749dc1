# SPDX-License-Identifier: Apache-2.0
"""Old import path of `infinitevggt_ros.training.bag_clips`, for scripts of earlier versions."""

from infinitevggt_ros.training import bag_clips

__all__ = ["BagClips"]


class BagClips(bag_clips.BagClips):
    """Clips with the attribute by which those scripts look at the stamps of the images."""

    @property
    def _images_at(self) -> list[tuple[int, int]]:
        return self.images_at
