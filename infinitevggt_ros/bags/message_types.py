# SPDX-License-Identifier: Apache-2.0
"""Installed message types by their ROS name."""

from importlib import import_module
from typing import Any


def message_class(type_name: str) -> Any:
    """The Python class of a type name such as sensor_msgs/msg/Image.

    Raises LookupError where no such type is installed.
    """
    try:
        package, kind, name = type_name.split("/")
        message_type = getattr(import_module(f"{package}.{kind}"), name)
        message_type.__class__.__import_type_support__()
    except (ValueError, ImportError, AttributeError) as error:
        raise LookupError(f"message type {type_name} is not installed") from error
    return message_type


def starts_with_header(message_type: Any) -> bool:
    """Whether the first field is a std_msgs/Header, as cdr.header_stamp_ns needs it."""
    fields = message_type.get_fields_and_field_types()
    return next(iter(fields.values()), "") == "std_msgs/Header"
