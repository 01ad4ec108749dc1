# SPDX-License-Identifier: Apache-2.0
"""Bags as training data: labels where they are recorded, and what happens to bad bags."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infinitevggt_core.training import ClipShape, TrainConfig
from infinitevggt_core.training.clip import Clip, faults
from infinitevggt_core.training.feed import ClipFeed
from infinitevggt_core.training.targets import targets_of
from infinitevggt_core.worlds import World
from infinitevggt_ros import bag_truth, training_bags
from infinitevggt_ros.bags.truth import BagTruth
from infinitevggt_ros.commands import cli
from infinitevggt_ros.commands.option_arguments import option_fields, option_name
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.bag_source import BagSource, BagSpec
from infinitevggt_ros.input.calibration import read_calibration
from infinitevggt_ros.topics import INFO_TOPIC
from infinitevggt_ros.training.bag_clips import BagClips
from infinitevggt_ros.training.sources import build_sources
from support.bag_making import Row, edited, write_image_bag

SEED, FRAMES, HEIGHT, WIDTH = 7, 24, 56, 84
SMALL_RUN = [
    *("--steps", "2", "--batch-frames", "4", "--frames-first", "2", "--frames-last", "2"),
    *("--width-first", "42", "--width-last", "42", "--validation-clips", "1"),
    *("--device", "cpu", "--precision", "fp32"),
]


@pytest.fixture(scope="module")
def world_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "world.mcap"
    options = ["--seed", str(SEED), "--frames", str(FRAMES), "--level", "easy"]
    assert cli.main(["synthetic-bag", *options, "--size", f"{HEIGHT}x{WIDTH}", str(path)]) == 0
    return path


def test_a_bag_gives_the_poses_and_depth_that_were_filmed(world_bag: Path) -> None:
    bag = BagClips(world_bag)
    assert bag.has_labels
    shape = ClipShape(batch=4, frames=3, stride=2, height=HEIGHT, width=WIDTH)
    clip = bag.sample(shape, 0, np.random.default_rng(0))
    starts = np.random.default_rng(0).integers(0, FRAMES - 2 - 4, 4).tolist()
    found = targets_of(clip)
    assert found is not None
    for index, start in enumerate(starts):
        film = World(SEED, "easy").render([start, start + 2, start + 4], HEIGHT, WIDTH)
        truth = targets_of(
            Clip(
                film.images[None],
                film.depth[None],
                film.camera_from_world[None].float(),
                film.intrinsics[None].float(),
            )
        )
        assert truth is not None
        for name in ("pose_encoding", "depth"):
            torch.testing.assert_close(
                getattr(found, name)[index], getattr(truth, name)[0], atol=1e-3, rtol=1e-3
            )
        torch.testing.assert_close(clip.images[index], film.images, atol=0.01, rtol=0)


def test_clips_are_rectified_as_evaluation_does(world_bag: Path, tmp_path: Path) -> None:
    def through_a_lens(topic: str, kind: str, at_ns: int, message: Any) -> list[Row]:
        if topic == INFO_TOPIC:
            message.d = np.array([-0.3, 0.1, 0.0, 0.0, 0.0])
            message.p = np.zeros(12)
        return [(topic, kind, at_ns, message)]

    bag = edited(world_bag, tmp_path / "lens.mcap", through_a_lens)
    shape = ClipShape(batch=1, frames=2, stride=1, height=HEIGHT, width=WIDTH)
    clip = BagClips(bag).sample(shape, 0, np.random.default_rng(0))
    plain = BagClips(world_bag).sample(shape, 0, np.random.default_rng(0))
    info = BagSource(BagSpec(bag)).calibration
    calibration = read_calibration(info, (HEIGHT, WIDTH), is_rectified=False)
    assert calibration is not None
    for found, seen in zip(clip.images[0], plain.images[0], strict=True):
        pixels = (seen.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        expected = torch.from_numpy(calibration.rectified(pixels)).permute(2, 0, 1) / 255
        torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert clip.depth is not None
    assert plain.depth is not None
    expected_depth = calibration.rectified_depth(plain.depth[0, 0].numpy())
    np.testing.assert_allclose(clip.depth[0, 0].numpy(), expected_depth, rtol=1e-5)


def test_clips_have_the_shape_that_is_asked_for(world_bag: Path) -> None:
    shape = ClipShape(batch=2, frames=2, stride=50, height=28, width=28)
    clip = BagClips(world_bag).sample(shape, 0, np.random.default_rng(0))
    assert clip.images.shape == (2, 2, 3, 28, 28)
    assert faults(clip) == ["", ""]
    assert clip.intrinsics is not None
    torch.testing.assert_close(clip.intrinsics[0, 0, 0, 2].item(), 14.0, atol=0.5, rtol=0)


def test_the_end_of_a_bag_is_held_out(world_bag: Path) -> None:
    training, held_out = BagClips(world_bag), BagClips(world_bag, held_out=True)
    assert max(training.images_at) < min(held_out.images_at)
    assert len(training.images_at) + len(held_out.images_at) == FRAMES


def test_a_bag_of_plain_images_has_no_labels(tmp_path: Path) -> None:
    path = write_image_bag(tmp_path / "plain.mcap", 12)
    bag = BagClips(path)
    assert not bag.has_labels
    shape = ClipShape(batch=1, frames=2, stride=1, height=28, width=42)
    assert set(bag.sample(shape, 0, np.random.default_rng(0)).tensors()) == {"images"}
    with pytest.raises(CommandError, match="--teacher"):
        build_sources(
            [f"bag:{path}"], "easy", torch.device("cpu"), labels_needed=True, batch_frames=4
        )


def test_a_corrupt_bag_is_left_out_and_named(
    world_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(world_bag.read_bytes()[:2000])
    names = [f"bag:{broken}", f"bag:{world_bag}"]
    training, _ = build_sources(
        names, "easy", torch.device("cpu"), labels_needed=True, batch_frames=4
    )
    assert len(training) == 1
    assert str(broken) in capsys.readouterr().err
    with pytest.raises(CommandError, match=r"broken\.mcap"):
        build_sources(names[:1], "easy", torch.device("cpu"), labels_needed=True, batch_frames=4)


def test_a_bag_that_breaks_during_the_run_is_counted(world_bag: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.mcap"
    path.write_bytes(world_bag.read_bytes())
    feed = ClipFeed(BagClips(path), 0, torch.device("cpu"))
    path.write_bytes(b"")
    with pytest.raises(RuntimeError, match="bag cannot be read"):
        feed.batch(0, ClipShape(batch=1, frames=2, stride=1, height=28, width=42))


def test_plain_images_are_distilled_with_one_command_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_image_bag(tmp_path / "plain.mcap", 30), tmp_path / "run"
    source = ["--source", f"bag:{path}", "--teacher", "random:tiny", "--init", "random:tiny"]
    assert cli.main(["train", "--out", str(out), *source, *SMALL_RUN]) == 0
    assert "finished at step 2" in capsys.readouterr().out
    assert (out / "last.safetensors").exists()
    assert cli.main(["train", "--out", str(out), *source, *SMALL_RUN]) == 1
    assert "--resume" in capsys.readouterr().err
    assert cli.main(["train", "--out", str(out), "--resume", "--steps", "3"]) == 0
    assert "finished at step 3" in capsys.readouterr().out


def test_a_bag_that_is_too_short_to_validate_on_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_image_bag(tmp_path / "plain.mcap", 10), tmp_path / "run"
    options = ["--source", f"bag:{path}", "--teacher", "random:tiny", *SMALL_RUN]
    options += ["--frames-last", "4"]
    assert cli.main(["train", "--out", str(out), *options]) == 1
    said = capsys.readouterr().err
    assert "fewer images than a clip has" in said
    assert "--validation-clips 0" in said
    assert cli.main(["train", "--out", str(out / "2"), *options, "--validation-clips", "0"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "no state.pt"),
        (["--source", "video.mp4"], "neither worlds nor bag:PATH"),
        (["--lr", "7"], "lr must lie in [0, 1]"),
        (["--init", "nowhere.safetensors"], "nowhere"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--out", str(tmp_path / "run"), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_every_setting_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    text = capsys.readouterr().out
    for field in option_fields(TrainConfig):
        assert option_name(field.name) in text
    assert "example: infinitevggt train" in text


def test_the_old_import_paths_lead_to_the_classes() -> None:
    assert bag_truth.BagTruth is BagTruth
    assert issubclass(training_bags.BagClips, BagClips)
