# SPDX-License-Identifier: Apache-2.0
"""Stand-in for tf2_ros, only what infinitevggt_ros calls: its exceptions."""

# the names are those of the genuine package
# ruff: noqa: N818


class TransformException(Exception):
    """A transform cannot be had; the base of the others."""


class LookupException(TransformException):
    """A frame does not exist."""


class ConnectivityException(TransformException):
    """Two frames are not in one tree."""


class ExtrapolationException(TransformException):
    """The time asked for is outside the stored samples."""


class InvalidArgumentException(TransformException):
    """A frame name is empty or starts with a slash."""
