# SPDX-License-Identifier: Apache-2.0
"""The little of serialized messages (CDR) that can be read without their type."""

import struct


def header_stamp_ns(serialized: bytes) -> int:
    """Stamp (ns) of a serialized message whose first field is a std_msgs/Header."""
    byte_order = "<" if serialized[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{byte_order}iI", serialized, 4)
    return int(seconds) * 10**9 + int(nanoseconds)
