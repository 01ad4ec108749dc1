# SPDX-License-Identifier: Apache-2.0
"""Tensors of a pickle that holds more than tensors, such as the settings of a training script.

`torch.load(path, weights_only=False, pickle_module=tensor_pickle)` creates tensors and containers
only. Anything else becomes an `Ignored`; none of its code is imported or run.
"""

import pickle
from collections import OrderedDict
from typing import Any

import torch
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
}
"""Callables of a pickled state_dict. torch.load itself finds the types of storages."""


class Ignored:
    """Takes the place of an object that is no tensor, whatever the pickle does with it."""

    def __new__(cls, *_args: object, **_options: object) -> "Ignored":
        return super().__new__(cls)

    def __init__(self, *_args: object, **_options: object) -> None:
        """Take any arguments."""

    def __call__(self, *_args: object, **_options: object) -> "Ignored":
        return self

    def __setstate__(self, _state: object) -> None:
        """Take any state."""

    def __setitem__(self, _key: object, _value: object) -> None:
        """Take the items of a dict."""

    def append(self, _item: object) -> None:
        """Take an item of a list."""

    def add(self, _item: object) -> None:
        """Take an item of a set."""


class Unpickler(pickle.Unpickler):
    """Unpickler that finds nothing but the callables of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        return ALLOWED.get((module, name), Ignored)
