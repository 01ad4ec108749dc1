# SPDX-License-Identifier: Apache-2.0
"""Messages for bags, made without ROS."""

from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from infinitevggt_ros.bags.message_types import typestore_with


class BagMessages:
    """Makes messages by the definitions of ROS 2 Kilted and serializes them."""

    def __init__(self, *type_names: str) -> None:
        """type_names: types that are not Kilted's, as `typestore_with` takes them."""
        self._store: Typestore = typestore_with(*type_names)

    def make(self, type_name: str, /, **fields: Any) -> Any:
        """Return a message. Raises KeyError for an unknown type and TypeError for an unknown field.

        fields: values by name; other fields are zero or empty.
        """
        zeros = {
            name: self._zero(kind)
            for name, kind in self._store.fielddefs[type_name][1]
            if name not in fields
        }
        return self._store.types[type_name](**zeros, **fields)

    def serialize(self, message: Any) -> bytes:
        """Return a message that `make` returned as CDR."""
        return bytes(self._store.serialize_cdr(message, message.__msgtype__))

    def _zero(self, kind: Any) -> Any:
        node, value = kind
        if node == Nodetype.NAME:
            return self.make(value)
        if node == Nodetype.BASE:
            return "" if value[0] == "string" else np.dtype(value[0]).type(0).item()
        (element, name), count = value
        if element == Nodetype.BASE and name[0] != "string":
            return np.zeros(count, dtype=name[0])
        return [self._zero((element, name)) for _ in range(count)]
