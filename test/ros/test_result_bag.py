# SPDX-License-Identifier: Apache-2.0
"""The result bag, read as Foxglove reads it: by MCAP's own library, and each message by nothing but
the schema beside it."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from support.bag_evaluation import FRAMES

LATCHED = ("/tf_static", "/infinitevggt/map")


def stamp_ns(message: Any) -> int:
    """Return the stamp of a message, or of the first transform in it, ns."""
    stamp = (message.transforms[0] if hasattr(message, "transforms") else message).header.stamp
    return int(stamp.sec * 10**9 + stamp.nanosec)


def test_every_message_opens_with_the_schema_beside_it_and_time_goes_forward(
    whole_run: Path,
) -> None:
    counts: dict[str, int] = defaultdict(int)
    stamps: dict[str, int] = defaultdict(int)
    newest = 0
    with (whole_run / "result.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        for entry in reader.iter_decoded_messages(log_time_order=False):
            at_ns = stamp_ns(entry.decoded_message)
            assert entry.message.log_time == entry.message.publish_time == at_ns
            assert stamps[entry.channel.topic] < at_ns
            assert newest <= at_ns
            newest = stamps[entry.channel.topic] = at_ns
            counts[entry.channel.topic] += 1
    assert counts.pop("/infinitevggt/map") == 1
    assert set(counts.values()) == {FRAMES}


def test_its_index_has_every_topic_and_what_comes_late_gets_is_latched(whole_run: Path) -> None:
    with (whole_run / "result.mcap").open("rb") as file:
        reader = make_reader(file)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.chunk_count == len(summary.chunk_indexes) > 0
    latched = set()
    for channel in summary.channels.values():
        assert channel.message_encoding == "cdr"
        assert summary.schemas[channel.schema_id].encoding == "ros2msg"
        if "durability: transient_local" in channel.metadata["offered_qos_profiles"]:
            latched.add(channel.topic)
    assert latched == set(LATCHED)
