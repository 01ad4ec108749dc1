# SPDX-License-Identifier: Apache-2.0
"""Published data sets as they lie on disk after download: one small reader per layout.

Each takes the folder of one sequence, or one above several, and raises DatasetError with one line
that names the file.
"""

from infinitevggt_core.evaluation.datasets import kitti, long3d, nrgbd, seven_scenes, sintel, tum
from infinitevggt_core.evaluation.datasets.files import DatasetError
from infinitevggt_core.evaluation.datasets.sequence import DatasetFrame, Sequence

READERS = {
    "tum": tum.tum,
    "7scenes": seven_scenes.seven_scenes,
    "nrgbd": nrgbd.nrgbd,
    "bonn": tum.bonn,
    "long3d": long3d.long3d,
    "kitti": kitti.kitti,
    "sintel": sintel.sintel,
}
"""Name and reader: folder -> sequences."""

__all__ = ["READERS", "DatasetError", "DatasetFrame", "Sequence"]
