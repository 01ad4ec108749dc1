# SPDX-License-Identifier: Apache-2.0
"""Write a directory of images, or a video file, as a ROS 2 bag, as a camera would have left it.

Files are taken in natural order (frame2 before frame10). The frames of a video get their own
presentation times. OUT ending in .mcap or .db3 becomes a single file, any other name a rosbag2
directory; both play with `infinitevggt replay` and `ros2 bag play`.
"""

import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from infinitevggt_ros.bags.image_bag import ImageBag, frame_stamp_ns
from infinitevggt_ros.bags.image_source import ImageDirectory, SourceImage, VideoFile, open_source
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.commands.option_arguments import rate_hz
from infinitevggt_ros.errors import CommandError

EXAMPLE = "infinitevggt images-to-bag photos/ room.mcap --rate 5 --fov 70"

DIRECTORY_RATE_HZ = Fraction(10)


@dataclass
class Written:
    """Numbers of a finished bag."""

    images: int = 0
    last_time_ns: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Number of images by width and height."""


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", type=Path, help="directory of images (png, jpg, bmp, tif, webp) or video file")
    add("out", type=Path, help="name of the bag: room.mcap, room.db3, or a directory")
    add("--topic", default="/camera/image_raw", help="topic of the images")
    add("--frame-id", default="camera_optical_frame", help="frame_id of every header")
    add(
        "--rate",
        type=rate_hz,
        metavar="HZ",
        help="images per second; default: 10, or the timestamps of the video",
    )
    add(
        "--fov",
        type=float,
        metavar="DEG",
        help="horizontal field of view, degrees; if given, camera_info is written too",
    )
    add("--start-stamp", type=_stamp_ns, default="1", metavar="S", help="stamp of the first image")
    add("--compressed", action="store_true", help="CompressedImage; jpg and png files unchanged")
    add("--max-size", type=int, metavar="PX", help="shrink images whose longer side is longer")
    add("--overwrite", action="store_true", help="replace an existing bag")


def run(options: argparse.Namespace) -> int:
    topic = _checked_topic(options.topic)
    if options.max_size is not None and options.max_size < 1:
        raise CommandError(f"--max-size {options.max_size}: must be at least 1 pixel")
    source = open_source(options.source)
    rate = options.rate or _default_rate_hz(source, options.source)
    with BagWriter(options.out, overwrite=options.overwrite) as bag:
        images = ImageBag(
            bag,
            topic,
            frame_id=options.frame_id,
            fov_deg=options.fov,
            compressed=options.compressed,
        )
        written = _write_all(source, images, rate, options)
        if not written.images:
            raise CommandError(f"no readable image in {options.source}: no bag was written")
    print(_summary(options.out, images.topic, written, source.skipped))
    return 0


def _write_all(
    source: ImageDirectory | VideoFile,
    images: ImageBag,
    rate: Fraction,
    options: argparse.Namespace,
) -> Written:
    written = Written()
    report = partial(tqdm.write, file=sys.stderr)
    with tqdm(total=source.count, unit="image", disable=None) as progress:
        for image in source.images(report=report):
            time_ns = frame_stamp_ns(0, image.index, rate)
            if options.rate is None and image.time_ns is not None:
                time_ns = image.time_ns
            time_ns = max(time_ns, written.last_time_ns + 1) if written.images else time_ns
            shrunk = _shrunk(image, options.max_size)
            images.write(shrunk, options.start_stamp + time_ns)
            written.images += 1
            written.last_time_ns = time_ns
            written.sizes[shrunk.pixels.shape[1], shrunk.pixels.shape[0]] += 1
            progress.update()
    if len(written.sizes) > 1:
        sizes = ", ".join(f"{n} of {w}x{h} px" for (w, h), n in written.sizes.most_common())
        report(f"images of several sizes: {sizes}; the node uses those of the first image's size")
    return written


def _shrunk(image: SourceImage, max_size_px: int | None) -> SourceImage:
    height, width = image.pixels.shape[:2]
    if max_size_px is None or max(height, width) <= max_size_px:
        return image
    scale = max_size_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk = cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA)
    return replace(image, pixels=shrunk, encoded=None)


def _default_rate_hz(source: ImageDirectory | VideoFile, path: Path) -> Fraction:
    if isinstance(source, ImageDirectory):
        return DIRECTORY_RATE_HZ
    if source.rate_hz is None:
        raise CommandError(f"{path} does not state its frame rate: add --rate HZ")
    return source.rate_hz


def _summary(out: Path, topic: str, written: Written, skipped: int) -> str:
    line = f"{out}: {written.images} images on {topic}"
    if written.images > 1 and written.last_time_ns:
        line += f", {(written.images - 1) * 1e9 / written.last_time_ns:.4g} Hz"
    return f"{line}; {skipped} broken files skipped" if skipped else line


def _checked_topic(topic: str) -> str:
    topic = f"/{topic.lstrip('/')}"
    if not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", topic):
        raise CommandError(
            f"--topic {topic}: a topic name has letters, digits and _ between slashes"
        )
    return topic


def _stamp_ns(text: str) -> int:
    try:
        stamp_ns = int(Decimal(text) * 10**9)
    except (InvalidOperation, ValueError, OverflowError):
        stamp_ns = -1
    if not 0 <= stamp_ns < 2**31 * 10**9:
        raise argparse.ArgumentTypeError(f"{text} must be a time from 0 to 2147483647 seconds")
    return stamp_ns
