# SPDX-License-Identifier: Apache-2.0
"""Messages made by the names of their types, so that one function serves a node and a bag.

A node publishes the classes of the sourced ROS. A bag needs no ROS: see bags/bag_messages.py.
"""

from array import array
from functools import cache
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class MessageMaker(Protocol):
    """Makes messages."""

    def make(self, type_name: str, /, **fields: Any) -> Any:
        """Return a message such as sensor_msgs/msg/Image.

        fields: values by name; other fields are zero or empty. Numbers of an array are a NumPy
        array of the field's type.
        """
        ...


class RosMessages:
    """Makes messages of the sourced ROS, which is imported when the first one is made."""

    def make(self, type_name: str, /, **fields: Any) -> Any:
        """Return a message. Raises LookupError if its type is not installed."""
        kind = message_class(type_name)
        types = kind.get_fields_and_field_types()
        return kind(
            **{
                name: _sequence(value)
                if isinstance(value, np.ndarray) and types[name].startswith("sequence")
                else value
                for name, value in fields.items()
            }
        )


ROS = RosMessages()


@cache
def message_class(type_name: str) -> Any:
    """Return the Python class of a type name such as sensor_msgs/msg/Image.

    Raises LookupError if the type is not installed.
    """
    try:
        package, kind, name = type_name.split("/")
        message_type = getattr(import_module(f"{package}.{kind}"), name)
        message_type.__class__.__import_type_support__()
    except (ValueError, ImportError, AttributeError) as error:
        raise LookupError(f"message type {type_name} is not installed") from error
    return message_type


def _sequence(values: NDArray[Any]) -> "array[Any]":
    """Return an array (N,) as rclpy takes it without a copy of each element."""
    sequence: array[Any] = array(values.dtype.char)
    sequence.frombytes(np.ascontiguousarray(values).tobytes())
    return sequence
