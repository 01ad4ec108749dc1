# SPDX-License-Identifier: Apache-2.0
"""Adapt a network to the images of a bag, without labels.

Tracking and bundle adjustment turn the bag into poses and sparse depth of keyframes, on which the
network is fine-tuned. The last part of the bag is held out: weights are written only if its error
has become smaller. The camera must be calibrated (camera_info), and it must move.
"""

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from infinitevggt_core import VGGT, save_checkpoint
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.model.checkpoint import CheckpointError, load_checkpoint
from infinitevggt_core.training.adaptation import (
    Adaptation,
    AdaptationError,
    AdaptConfig,
    Recording,
    adapt,
)
from infinitevggt_core.training.tracked_recording import TrackedRecording
from infinitevggt_ros.commands.option_arguments import add_options, add_threads, apply_options
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.adaptation_page import adaptation_page
from infinitevggt_ros.evaluation.bag_source import BagSource, BagSpec
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.input.network_image import ImageConverter
from infinitevggt_ros.params.settings import DEFAULT_CHECKPOINT, InputSettings

EXAMPLE = "infinitevggt adapt run.mcap --out mine.safetensors"


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bag", type=Path, help="bag with images of one moving, calibrated camera")
    add("--out", type=Path, required=True, help="file of the adapted weights")
    add("--report", type=Path, help="HTML page with depth before and after (default: OUT.html)")
    add("--checkpoint", default=DEFAULT_CHECKPOINT, help="network to adapt")
    add("--image-topic", default="", help="image topic; needed if the bag has several")
    add("--device", default="auto", help="torch device; auto: cuda if available, else cpu")
    add_threads(parser)
    add_options(parser, AdaptConfig)


def run(options: argparse.Namespace) -> int:
    if options.out.suffix != ".safetensors":
        raise CommandError(f"--out {options.out}: the name must end in .safetensors")
    config = apply_options(AdaptConfig(), options)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = load_checkpoint(options.checkpoint).float().to(device)
        recording, images = track(BagSource(BagSpec(options.bag, options.image_topic)), model)
        result = _fine_tune(model, recording, config)
    except (CheckpointError, AdaptationError) as error:
        raise CommandError(f"{error}; nothing was written") from error
    save_checkpoint(result.model.cpu(), options.out, torch.float16)
    report = options.report or options.out.with_suffix(".html")
    facts = {
        "bag": f"{options.bag.name}: {images} images, {len(recording)} keyframes",
        "checkpoint": options.checkpoint,
        "held-out depth error (AbsRel at tracked points)": f"{result.before:.3f} before, "
        f"{result.after:.3f} after {result.steps} steps",
    }
    page = adaptation_page(f"Adaptation to {options.bag.name}", model.cpu(), result, recording,
                           facts)  # fmt: skip
    with whole_file(report) as partial:
        partial.write_text(page)
    print("\n".join(f"{name}: {text}" for name, text in facts.items()))
    print(f"weights: {options.out}\nreport: {report}")
    return 0


def track(source: BagSource, model: VGGT) -> tuple[Recording, int]:
    """Return the keyframes of a bag and the number of its images that were tracked.

    Raises CommandError without calibration, and AdaptationError without keyframes.
    """
    converter = ImageConverter(InputSettings(), source.topic, _warn)
    converter.calibration = source.calibration
    tracked = TrackedRecording()
    frames = source.frames()
    for frame in tqdm(
        frames, total=source.frame_count, desc="tracking", unit="image", disable=None
    ):
        try:
            rgb = converter.rgb(frame.message)
            found = converter.prepare(rgb, model.config.img_size, model.config.patch_size)
        except BadInputError as error:
            _warn(error.kind, f"{source.topic}: image skipped, {error}")
            continue
        if found.calibration is None:
            raise CommandError(f"{converter.why_uncalibrated}: tracking needs the calibration")
        tracked.add(
            found.calibration.rectified(rgb), found.calibration.matrix, found.pixels,
            found.pixel_map,
        )  # fmt: skip
    return tracked.finish(), tracked.images


def _fine_tune(model: VGGT, recording: Recording, config: AdaptConfig) -> Adaptation:
    with tqdm(total=config.steps, desc="adapting", unit="step", disable=None) as bar:

        def progress(step: int, before: float, now: float) -> None:
            bar.set_postfix_str(f"held-out error {before:.3f} -> {now:.3f}")
            bar.update(step - bar.n)

        return adapt(model, recording, config, progress)


def _warn(kind: str, text: str) -> None:
    print(text, file=sys.stderr)
