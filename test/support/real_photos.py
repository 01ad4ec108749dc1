# SPDX-License-Identifier: Apache-2.0
"""Location of the real photo sequences for tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("INFINITEVGGT_REAL_PHOTOS", ROOT.parent / "shared" / "real"))
SEQUENCES = {"static_room": 10, "dynamic_car": 6}
"""Photos in each sequence."""
needs_photos = pytest.mark.skipif(
    not all((REAL / name).is_dir() for name in SEQUENCES),
    reason="no real photo sequences: set INFINITEVGGT_REAL_PHOTOS to their directory",
)
