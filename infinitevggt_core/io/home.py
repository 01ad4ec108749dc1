# SPDX-License-Identifier: Apache-2.0
"""The home directory in paths that no shell has expanded, such as parameters."""

import os
from pathlib import Path


def home_expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ~ or ~user replaced by the home directory. Raises ValueError if there is
    none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from error
