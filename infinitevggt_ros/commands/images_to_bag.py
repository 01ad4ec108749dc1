# SPDX-License-Identifier: Apache-2.0
"""Turn a directory of images, or a video file, into a ROS 2 bag: as if a camera had been there.

Files are taken in natural order (frame2 before frame10). OUT ending in .mcap or .db3 becomes a
single file, any other name a rosbag2 directory; both play with `infinitevggt replay` and
`ros2 bag play`.
"""

import argparse
import re
import sys
from dataclasses import replace
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


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", type=Path, help="directory of images (png, jpg, bmp, tif, webp) or video file")
    add("out", type=Path, help="the bag: room.mcap, room.db3, or a directory's name")
    add("--topic", default="/camera/image_raw", help="topic of the images")
    add("--frame-id", default="camera_optical_frame", help="frame_id of every header")
    add("--rate", type=rate_hz, help="images per second; unset: 10, or the video's own rate")
    add("--fov", type=float, help="horizontal field of view, degrees: also write camera_info")
    add("--start-stamp", type=_stamp_ns, default="1", help="stamp of the first image, seconds")
    add("--compressed", action="store_true", help="CompressedImage, jpg and png files untouched")
    add("--max-size", type=int, help="shrink images whose longer side has more pixels than this")
    add("--overwrite", action="store_true", help="replace a bag that exists")


def run(options: argparse.Namespace) -> int:
    topic = _checked_topic(options.topic)
    if options.max_size is not None and options.max_size < 1:
        raise CommandError(f"--max-size {options.max_size}: give at least 1 pixel")
    source = open_source(options.source)
    rate_hz = options.rate or _own_rate_hz(source, options.source)
    with BagWriter(options.out, overwrite=options.overwrite) as bag:
        images = ImageBag(
            bag,
            topic,
            frame_id=options.frame_id,
            fov_deg=options.fov,
            compressed=options.compressed,
        )
        written = _write_all(source, images, rate_hz, options)
        if not written:
            raise CommandError(f"no readable image in {options.source}: no bag was written")
    print(_summary(options.out, images.topic, written, source.skipped, rate_hz))
    return 0


def _write_all(
    source: ImageDirectory | VideoFile,
    images: ImageBag,
    rate_hz: Fraction,
    options: argparse.Namespace,
) -> int:
    written = 0
    with tqdm(total=source.count, unit="image", disable=None) as progress:
        for image in source.images(report=partial(tqdm.write, file=sys.stderr)):
            stamp_ns = frame_stamp_ns(options.start_stamp, image.index, rate_hz)
            images.write(_shrunk(image, options.max_size), stamp_ns)
            written += 1
            progress.update()
    return written


def _shrunk(image: SourceImage, max_size_px: int | None) -> SourceImage:
    height, width = image.pixels.shape[:2]
    if max_size_px is None or max(height, width) <= max_size_px:
        return image
    scale = max_size_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk = cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA)
    return replace(image, pixels=shrunk, encoded=None)


def _own_rate_hz(source: ImageDirectory | VideoFile, path: Path) -> Fraction:
    if isinstance(source, ImageDirectory):
        return DIRECTORY_RATE_HZ
    if source.rate_hz is None:
        raise CommandError(f"{path} does not say its frame rate: add --rate HZ")
    return source.rate_hz


def _summary(out: Path, topic: str, written: int, skipped: int, rate_hz: Fraction) -> str:
    line = f"{out}: {written} images on {topic}, {float(rate_hz):g} Hz"
    return f"{line}; {skipped} broken files skipped" if skipped else line


def _checked_topic(topic: str) -> str:
    topic = f"/{topic.lstrip('/')}"
    if not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", topic):
        raise CommandError(f"{topic} is no topic name: letters, digits and _ between slashes")
    return topic


def _stamp_ns(text: str) -> int:
    try:
        stamp_ns = int(Decimal(text) * 10**9)
    except (InvalidOperation, ValueError, OverflowError):
        stamp_ns = -1
    if not 0 <= stamp_ns < 2**31 * 10**9:
        raise argparse.ArgumentTypeError(f"{text} is no time in seconds from 0 to 2147483647")
    return stamp_ns
