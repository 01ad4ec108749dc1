# SPDX-License-Identifier: Apache-2.0
"""Play a bag of ROS 2 or ROS 1 onto live topics, with /clock.

All messages are sent reliably; static transforms are also sent to late subscribers. With --loop,
/clock jumps back at the end of the bag, as with `ros2 bag play --loop`. With --lockstep the next
image is sent only after the node has answered the previous one with a StreamStatus, so that a slow
node drops none.
"""

import argparse
import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import rclpy
from rclpy.exceptions import InvalidTopicNameException
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from tqdm import tqdm

from infinitevggt_ros.bags.lockstep import LockstepOptions
from infinitevggt_ros.bags.player import BagPlayer, PlayOptions, PlayReport
from infinitevggt_ros.errors import CommandError

EXAMPLE = "infinitevggt replay room.mcap --rate 0.5 --remap /camera/image_raw:=/image"

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED_BY_SIGNAL = 130


def configure(parser: argparse.ArgumentParser) -> None:
    play, step = PlayOptions(), LockstepOptions()
    add = parser.add_argument
    add("bag", type=Path, help="rosbag2 directory, .mcap, .db3 or .bag (ROS 1) file")
    add("--rate", type=float, help="bag seconds per second; default: 1, in lockstep without limit")
    add("--loop", action="store_true", help="start again at the end, until Ctrl-C")
    add("--start", type=float, default=play.start_s, metavar="S", help="seconds of the bag to skip")
    add("--duration", type=float, metavar="S", help="seconds of the bag to play; default: all")
    add("--topics", nargs="+", metavar="TOPIC", help="topics to play; default: all")
    add("--remap", nargs="+", default=[], metavar="FROM:=TO", help="new names of topics")
    add("--no-clock", action="store_true", help="do not publish /clock")
    add("--clock-hz", type=float, default=play.clock_hz, help="messages on /clock per second")
    add("--lockstep", action="store_true", help="wait for the node's status after every image")
    add("--status-topic", default=step.status_topic, help="status topic of the node, for lockstep")
    add(
        "--image-topic",
        nargs="+",
        metavar="TOPIC",
        help="images that the node reads, with or without /compressed; default: the colour camera "
        "in lockstep, else all",
    )
    add("--timeout", type=float, default=step.timeout_s, help="seconds to wait in lockstep")
    add(
        "--wait-for-subscriber",
        type=float,
        default=play.wait_for_subscriber_s,
        metavar="S",
        help="seconds to wait for a subscriber of the images; in lockstep --timeout is used",
    )
    add(
        "--wait-for-node",
        metavar="NODE",
        help="full name of the node to wait for, if RViz or a recorder subscribes before it; not "
        "needed in lockstep",
    )
    add("--quiet", action="store_true", help="print warnings and errors only")
    add("--stop-is-success", action="store_true", help="exit with status 0 after Ctrl-C too")


def run(options: argparse.Namespace) -> int:
    play_options = _play_options(options)
    notice = partial(tqdm.write, file=sys.stderr)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        with (
            BagPlayer(options.bag, play_options, notice=notice) as player,
            _stopped_by_signals(player),
        ):
            report = player.play() if options.quiet else _play(player)
    finally:
        rclpy.try_shutdown()
    if not options.quiet:
        print(report.summary(), flush=True)
    return 0 if report.finished or options.stop_is_success else STOPPED_BY_SIGNAL


@contextmanager
def _stopped_by_signals(player: BagPlayer) -> Iterator[None]:
    """Turn signals into a flag: none, not even a second one, interrupts a ROS call."""

    def stop(*_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        player.stop()

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)


def _play(player: BagPlayer) -> PlayReport:
    with tqdm(total=100, disable=None, bar_format="{percentage:3.0f}%|{bar}| {elapsed}") as bar:

        def show(fraction: float) -> None:
            bar.update(int(100 * fraction) - bar.n)

        return player.play(show)


def _play_options(options: argparse.Namespace) -> PlayOptions:
    for name in ("start", "duration", "clock_hz", "timeout", "wait_for_subscriber"):
        value = getattr(options, name)
        if value is not None and not value >= 0:
            raise CommandError(f"--{name.replace('_', '-')} must not be below 0")
    if options.rate is not None and not options.rate > 0:
        raise CommandError("--rate must be above 0")
    lockstep = LockstepOptions(status_topic=options.status_topic, timeout_s=options.timeout)
    return PlayOptions(
        rate=options.rate or (math.inf if options.lockstep else 1.0),
        loop=options.loop,
        start_s=options.start,
        duration_s=math.inf if options.duration is None else options.duration,
        topics=options.topics or (),
        remaps=dict(map(_remap, options.remap)),
        clock_hz=0.0 if options.no_clock else options.clock_hz,
        image_topics=options.image_topic or (),
        wait_for_subscriber_s=options.wait_for_subscriber,
        wait_for_node=_node_name(options.wait_for_node) if options.wait_for_node else "",
        lockstep=lockstep if options.lockstep else None,
    )


def _node_name(text: str) -> str:
    try:
        validate_full_topic_name(f"/{text.strip('/')}")  # node names follow the same rules
    except InvalidTopicNameException as error:
        raise CommandError(f"--wait-for-node {text} must be the name of a node") from error
    return text


def _remap(text: str) -> tuple[str, str]:
    recorded, separator, live = text.partition(":=")
    if not (recorded and separator and live):
        raise CommandError(f"--remap {text} must be FROM:=TO")
    return recorded, live
