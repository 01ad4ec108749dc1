# SPDX-License-Identifier: Apache-2.0
"""The examples and the snippets of the pages run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from infinitevggt_core.io.ply import read_ply_points

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 8
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of images of one pattern, each shifted by a few pixels."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    wall = np.asarray(coarse.resize((240, 180), Image.Resampling.BICUBIC))
    for i in range(FRAMES):
        Image.fromarray(wall[20:140, 4 * i : 4 * i + 160]).save(folder / f"{i:03}.png")
    return folder


def run_example(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=ROOT,
        # the checkout, not the installed package: a script's own folder comes first on sys.path
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_stream_images_writes_poses_and_a_map(images: Path, tmp_path: Path) -> None:
    printed = run_example("stream_images.py", str(images), "--out", str(tmp_path))
    assert printed.count(" tokens, ") == FRAMES
    poses = np.load(tmp_path / "camera_from_world.npy")
    assert poses.shape == (FRAMES, 3, 4)
    np.testing.assert_allclose(np.linalg.det(poses[:, :, :3]), 1, atol=1e-4)
    points = read_ply_points(tmp_path / "map.ply")
    assert len(points) > 100
    assert np.isfinite(points).all()


def test_an_own_policy_thins_old_frames(images: Path) -> None:
    printed = run_example("own_policy.py", str(images), "--half-life", "2", "--frames-held", "3")
    kept = [int(line.split()[2]) for line in printed.splitlines() if line.startswith("  frame")]
    tokens_per_frame = kept[0]  # the anchor is whole
    assert len(kept) == FRAMES
    assert sum(kept) <= 3 * tokens_per_frame
    assert 0 < kept[1] + kept[2] < kept[-1] + kept[-2]


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_snippets_of_a_page_run(page: str, images: Path) -> None:
    blocks = PYTHON.findall((ROOT / page).read_text())
    assert blocks
    names = {
        "pictures": [np.asarray(Image.open(path)) for path in sorted(images.iterdir())],
        "images": torch.rand(1, 2, 3, 84, 112),
    }
    for block in blocks:
        exec(block.replace("lch01/StreamVGGT", "tiny"), names)
    prediction = names["prediction"]
    assert prediction.depth.shape[0] == 1
    assert prediction.depth.isfinite().all()
