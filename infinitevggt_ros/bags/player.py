# SPDX-License-Identifier: Apache-2.0
"""Play a bag onto live topics."""

import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType

import rclpy
from rclpy.context import Context

from infinitevggt_ros.bags.camera_topics import choose_topics
from infinitevggt_ros.bags.lockstep import LockstepGate, LockstepOptions, listens_to_images
from infinitevggt_ros.bags.playback_clock import PlaybackClock
from infinitevggt_ros.bags.reader import (
    CREDIBLE_GAP_NS,
    IMAGE_TYPES,
    BagReader,
    header_stamp_ns,
)
from infinitevggt_ros.bags.topic_publisher import TopicPublisher
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.msg import StreamStatus

IMAGE_DEPTH = 10
OTHER_DEPTH = 100
LATE_NS = 10_000_000
NOTICED_PAUSE_S = 10.0
"""A longer wait for the next message is said."""
SETTLE_S = 0.5
"""A subscriber that this node has discovered may need this long to discover this node."""
DRAIN_S = 5.0
YEAR_NS = 365.25 * 86400 * 1e9


@dataclass(frozen=True)
class PlayOptions:
    """Options of a replay. Topics have their recorded names."""

    rate: float = 1.0
    """Bag seconds per wall second; inf for no waiting."""
    loop: bool = False
    start_s: float = 0.0
    """Seconds of the bag to skip; latched messages (/tf_static) before it are still sent."""
    duration_s: float = math.inf
    """Seconds of the bag to play."""
    topics: Collection[str] = ()
    """Topics to play; empty for all."""
    remaps: Mapping[str, str] = field(default_factory=dict)
    """Live names by recorded names."""
    clock_hz: float = 100.0
    """Messages on /clock per wall second; 0 for none."""
    image_topics: Collection[str] = ()
    """Images that the node subscribes to; empty to choose them by type."""
    wait_for_subscriber_s: float = 10.0
    wait_for_node: str = ""
    """Full name of the subscriber to wait for; empty for any, in lockstep the node that answers."""
    lockstep: LockstepOptions | None = None
    """Wait for the node at every image; None for no waiting."""


@dataclass
class PlayReport:
    """Result of a replay."""

    sent: dict[str, int] = field(default_factory=dict)
    """Number of messages by live topic."""
    late: int = 0
    """Number of messages sent more than 10 ms after their time."""
    unacknowledged: list[str] = field(default_factory=list)
    """Topics whose last messages a subscriber has not acknowledged."""
    outcomes: dict[int, int] | None = None
    """In lockstep, number of images by outcome of StreamStatus."""
    finished: bool = False
    """False if the replay was stopped before the end."""

    def summary(self) -> str:
        """Return one line for the user."""
        topics = ", ".join(f"{topic} {count}" for topic, count in self.sent.items())
        parts = [f"sent {sum(self.sent.values())} messages ({topics})", f"{self.late} late"]
        if self.unacknowledged:
            parts.append(f"the last ones not acknowledged on {', '.join(self.unacknowledged)}")
        else:
            parts.append("all acknowledged")
        if self.outcomes is not None:
            parts.append(f"{self.outcomes.get(StreamStatus.PROCESSED, 0)} images processed")
            parts.append(f"{self.outcomes.get(StreamStatus.REJECTED, 0)} rejected")
            if dropped := self.outcomes.get(StreamStatus.DROPPED, 0):
                parts.append(f"{dropped} dropped by the node")
        return ", ".join(parts) + ("" if self.finished else " (stopped before the end)")


class BagPlayer:
    """Plays a bag with a node of its own; rclpy (or `context`) must be initialised.

    Use it as a context manager and call play() once. stop() may be called from a signal handler or
    another thread. Raises CommandError for mistakes of the user.
    """

    def __init__(
        self,
        path: Path | str,
        options: PlayOptions | None = None,
        *,
        context: Context | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        """notice: called with lines such as a topic that is skipped; None prints to stderr."""
        self._options = options or PlayOptions()
        self._notice = notice or partial(print, file=sys.stderr)
        self._stopped = False
        self._reader = BagReader(path)
        try:
            self._check_topics()
            self.image_topics = self._choose_image_topics()
            """Recorded names of the images that subscribers are waited for on."""
        except CommandError:
            self._reader.close()
            raise
        for note in self._reader.notes:
            self._notice(note)
        if empty := self._reader.empty_topics:
            self._notice(f"no messages were recorded on {', '.join(empty)}")
        self._node = rclpy.create_node(
            "bag_player", context=context, start_parameter_services=False
        )
        self._clock = PlaybackClock(
            self._node, rate=self._options.rate, clock_hz=self._options.clock_hz
        )
        lockstep = self._options.lockstep
        self._gate = LockstepGate(self._node, lockstep) if lockstep else None
        self._publishers: dict[str, TopicPublisher] = {}

    def play(self, progress: Callable[[float], None] = lambda _: None) -> PlayReport:
        """Play to the end or until stop(). progress: called with the fraction played, 0 to 1.

        Raises CommandError if the bag announces images and none could be sent.
        """
        self._make_publishers()
        self._wait_for_subscribers()
        report = PlayReport()
        while self._running():
            self._play_once(report, progress)
            if not self._options.loop:
                break
        report.sent = {publisher.topic: publisher.sent for publisher in self._publishers.values()}
        report.finished = self._running()
        report.unacknowledged = self._drain()
        report.outcomes = dict(self._gate.outcomes) if self._gate else None
        if report.finished:
            self._check_counts()
        return report

    def stop(self) -> None:
        """Make play() return at once."""
        self._stopped = True

    def close(self) -> None:
        """Destroy the node and close the bag."""
        if self._gate:
            self._gate.close()
        self._node.destroy_node()
        self._reader.close()

    @property
    def _start_ns(self) -> int:
        return self._reader.start_ns + round(self._options.start_s * 1e9)

    @property
    def _end_ns(self) -> int:
        """Receive time of the last message to play."""
        if math.isinf(self._options.duration_s):
            return self._reader.end_ns
        return min(self._reader.end_ns, self._start_ns + round(self._options.duration_s * 1e9))

    @property
    def _is_whole(self) -> bool:
        return self._options.start_s == 0 and math.isinf(self._options.duration_s)

    def _running(self) -> bool:
        return not self._stopped and self._node.context.ok()

    def _check_topics(self) -> None:
        options = self._options
        images = map(self._recorded, options.image_topics)
        self._reader.require_topics([*options.topics, *options.remaps, *images])
        if self._start_ns > self._reader.end_ns:
            length_s = (self._reader.end_ns - self._reader.start_ns) / 1e9
            raise CommandError(f"{self._reader.path} is only {length_s:g} s long: start earlier")

    def _choose_image_topics(self) -> list[str]:
        if named := [self._recorded(topic) for topic in self._options.image_topics]:
            if left_out := [topic for topic in named if not self._is_played(topic)]:
                raise CommandError(f"{', '.join(left_out)} is not among the topics to play")
            return named
        found = [topic for topic in self._reader.image_topics if self._is_played(topic)]
        if not self._options.lockstep:
            return found
        if not found:
            self._reader.require_image_topics()
            raise CommandError("lockstep needs images: add their topic to --topics")
        chosen = choose_topics(self._reader, topics=tuple(found))
        if chosen.rivals:
            raise CommandError(
                f"{self._reader.path} has several cameras, and lockstep needs to know which one "
                f"the node reads: name one of {', '.join([chosen.image, *chosen.rivals])} "
                "(--image-topic)"
            )
        return [chosen.image]

    def _recorded(self, image_topic: str) -> str:
        """Return the name in the bag: image topics may be named without /compressed."""
        topics, compressed = self._reader.topics, f"{image_topic}/compressed"
        return compressed if image_topic not in topics and compressed in topics else image_topic

    def _is_played(self, topic: str) -> bool:
        if topic == "/clock" and self._options.clock_hz:
            return False  # replaced by the player's own
        return not self._options.topics or topic in self._options.topics

    def _make_publishers(self) -> None:
        for topic, type_name in self._reader.topics.items():
            if self._is_played(topic):
                self._make_publisher(topic, type_name)
        if not self._publishers:
            raise CommandError(f"nothing to play in {self._reader.path}")

    def _make_publisher(self, topic: str, type_name: str) -> None:
        latched = topic in self._reader.latched_topics
        depth = IMAGE_DEPTH if topic in self.image_topics else OTHER_DEPTH
        if latched:  # late subscribers get all of them
            depth = max(depth, self._reader.message_counts[topic])
        live_topic = self._options.remaps.get(topic, topic)
        try:
            self._publishers[topic] = TopicPublisher(
                self._node, live_topic, type_name, depth=depth, latched=latched
            )
        except LookupError as error:
            package = type_name.partition("/")[0]
            self._notice(f"skipping {topic}: {error}; install or source the package {package}")

    def _wait_for_subscribers(self) -> None:
        lockstep = self._options.lockstep
        wait_s = lockstep.timeout_s if lockstep else self._options.wait_for_subscriber_s
        if not wait_s:
            return
        if not self._is_awaited():
            status = f" and for {lockstep.status_topic}" if lockstep else ""
            self._notice(f"waiting for a subscriber of {self._watched_names()}{status}")
        deadline_s = time.monotonic() + wait_s
        while self._running() and not self._is_awaited():
            if time.monotonic() > deadline_s:
                self._no_subscriber(wait_s)
                return
            self._idle()
        settled_s = time.monotonic() + SETTLE_S
        while self._running() and time.monotonic() < settled_s:
            self._idle()

    def _idle(self) -> None:
        self._clock.tick(self._start_ns)
        time.sleep(0.02)

    def _watched(self) -> list[TopicPublisher]:
        images = [self._publishers[t] for t in self.image_topics if t in self._publishers]
        return images or list(self._publishers.values())

    def _watched_names(self) -> str:
        return ", ".join(publisher.topic for publisher in self._watched())

    def _is_awaited(self) -> bool:
        named = all if self._options.image_topics else any
        subscribed = named(publisher.subscriber_count > 0 for publisher in self._watched())
        return subscribed and self._node_listens()

    def _node_listens(self) -> bool:
        if self._gate is not None:
            return self._gate.has_listener
        name = self._options.wait_for_node
        return not name or listens_to_images(self._node, name)

    def _no_subscriber(self, wait_s: float) -> None:
        if self._gate is None:
            name = self._options.wait_for_node or "any node"
            missing = f"no subscription of {name} to {self._watched_names()}"
            self._notice(f"{missing} in {wait_s:g} s; playing")
            return
        status_topic = self._gate.options.status_topic
        counts = [
            f"{publisher.subscriber_count} on {publisher.topic}" for publisher in self._watched()
        ]
        raise CommandError(
            f"no node for lockstep in {wait_s:g} s: subscribers {', '.join(counts)}, "
            f"{'a' if self._gate.has_publisher else 'no'} publisher of {status_topic} "
            f"(listening to images: {'yes' if self._gate.has_listener else 'no'}). Start or "
            "activate the node, or see --image-topic, --remap and --status-topic"
        )

    def _play_once(self, report: PlayReport, progress: Callable[[float], None]) -> None:
        self._clock.set(self._start_ns)
        self._clock.tick(self._start_ns, force=True)
        span_ns = max(1, self._end_ns - self._start_ns)
        previous_ns = self._start_ns
        for topic, stamp_ns, serialized in self._messages():
            self._announce_gap(previous_ns, stamp_ns)
            previous_ns = stamp_ns
            report.late += self._clock.wait_until(stamp_ns, self._running) > LATE_NS
            if not self._running():
                return
            if topic in self.image_topics:
                self._clock.tick(stamp_ns, force=True)
            self._send(topic, stamp_ns, serialized)
            progress(max(0, stamp_ns - self._start_ns) / span_ns)

    def _announce_gap(self, previous_ns: int, stamp_ns: int) -> None:
        """Skip a gap that no recording has, such as one from time 0 to today; say a long one."""
        gap_ns = stamp_ns - previous_ns
        if gap_ns > CREDIBLE_GAP_NS:
            self._notice(
                f"skipping a gap of {_duration(gap_ns)}: the clock was set during the recording"
            )
            self._clock.set(stamp_ns)
        elif (pause_s := self._clock.wall_s_until(stamp_ns)) > NOTICED_PAUSE_S:
            self._notice(f"the next message comes in {pause_s:.0f} s: the bag has a gap")

    def _messages(self) -> Iterator[tuple[str, int, bytes]]:
        latched = self._reader.latched_topics & self._publishers.keys()
        if latched and self._start_ns > self._reader.start_ns:
            yield from self._reader.messages(latched, stop_ns=self._start_ns)
        topics = list(self._publishers)
        yield from self._reader.messages(topics, self._start_ns, self._end_ns + 1)

    def _send(self, topic: str, stamp_ns: int, serialized: bytes) -> None:
        send = partial(self._publishers[topic].publish, serialized, self._running)
        if self._gate is None or topic not in self.image_topics:
            send()
            return
        self._gate.deliver(
            send,
            header_stamp_ns(serialized),
            self._running,
            while_waiting=partial(self._clock.tick, stamp_ns),
        )
        self._clock.set(stamp_ns)

    def _check_counts(self) -> None:
        """Compare the number of messages sent with the index of the bag."""
        if not self._is_whole or self._options.loop:
            return
        announced = self._reader.message_counts
        for topic, publisher in self._publishers.items():
            if publisher.sent >= announced[topic]:
                continue
            shortfall = f"{topic}: {publisher.sent} of {announced[topic]} messages could be read"
            if publisher.sent == 0 and self._reader.topics[topic] in IMAGE_TYPES:
                raise CommandError(
                    f"{shortfall}: the index of {self._reader.path} does not match its contents; "
                    "write it again with `ros2 bag reindex`"
                )
            self._notice(shortfall)

    def _drain(self) -> list[str]:
        deadline_s = time.monotonic() + DRAIN_S
        return [
            publisher.topic
            for publisher in self._publishers.values()
            if self._running()
            and not publisher.drain(max(0.0, deadline_s - time.monotonic()), self._running)
        ]

    def __enter__(self) -> "BagPlayer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _duration(span_ns: int) -> str:
    if span_ns > YEAR_NS:
        return f"{span_ns / YEAR_NS:.1f} years"
    return f"{span_ns / 3600e9:.1f} h"
