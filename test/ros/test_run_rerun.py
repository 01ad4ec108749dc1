# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt run --rerun`, by a recording that is read back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infinitevggt_ros.commands.cli import main
from support.world_images import world_video

IMAGES = 6


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world_video(tmp_path_factory.mktemp("video") / "room.avi", IMAGES)


def test_a_recording_has_everything_that_the_run_knows(video: Path, tmp_path: Path) -> None:
    chunks = pytest.importorskip("rerun.chunk", reason="an extra: pip install '.[rerun]'")
    out, file = tmp_path / "run", tmp_path / "walk.rrd"
    assert main(["run", str(video), "--fov", "60", "--rerun", str(file), "--out", str(out)]) == 0
    found: dict[str, list[Any]] = {}
    for chunk in chunks.RrdReader(file).stream():
        batch = chunk.to_record_batch()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            rows = [row for row in column.to_pylist() if row is not None]
            found.setdefault(f"{chunk.entity_path}:{name}", []).extend(rows)
    for name in (
        "/map/camera/image:EncodedImage:blob",
        "/map/camera/depth:DepthImage:buffer",
        "/map/camera/image:Pinhole:image_from_camera",
        "/memory/tokens:Scalars:scalars",
    ):
        assert len(found[name]) == IMAGES, name
    positions = np.array(found["/map/camera:Transform3D:translation"])[:, 0]
    live = np.loadtxt(out / "trajectory.tum")[:, 1:4]
    np.testing.assert_allclose(positions, live, atol=1e-5)
    assert len(found["/map/trajectory:LineStrips3D:strips"][-1][0]) == IMAGES
    assert len(found["/map/cloud:Points3D:positions"][-1]) > 1000
    assert "/map/loops:LineStrips3D:strips" in found


def test_mistakes_are_explained(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(video), "--checkpoint", "random:tiny", "--rerun", "walk.mp4"]) == 1
    assert "must end in .rrd" in capsys.readouterr().err
