# SPDX-License-Identifier: Apache-2.0
"""The folder below which services write and read files (`files.root`)."""

import os
from pathlib import Path

from infinitevggt_core.io.home import home_expanded

APPLICATION = "infinitevggt"


def default_root() -> Path:
    """Return the user's data folder for this application."""
    data = os.environ.get("XDG_DATA_HOME", "")
    return (Path(data) if data else home_expanded("~/.local/share")) / APPLICATION


class FileRoot:
    """Resolves paths of service requests, which anybody on the network can send."""

    def __init__(self, root: str) -> None:
        """root: the folder; empty for the user's data folder, / for no limit."""
        self.path = home_expanded(root).resolve() if root else default_root().resolve()

    def for_writing(self, given: str) -> Path:
        """Return the absolute path of a file to write, in a folder that exists.

        The root itself is created if needed. Raises ValueError as `resolve` does, and OSError
        if the root cannot be created.
        """
        path = self._in_a_folder(given)
        if path.is_dir():
            raise ValueError(f"{path}: it is a directory")
        return path

    def for_new_folder(self, given: str) -> Path:
        """Return the absolute path of a folder that does not exist, in a folder that exists.

        The root is created and errors are raised as by `for_writing`.
        """
        path = self._in_a_folder(given)
        if path.exists():
            raise ValueError(f"{path}: it exists already, name a new folder")
        return path

    def resolve(self, given: str) -> Path:
        """Return the absolute path of a file.

        A relative path is below the root; ~ is the home directory. Raises ValueError if the path
        leaves the root or names a home directory that does not exist.
        """
        if not given:
            raise ValueError("the path is empty: give one")
        path = (self.path / home_expanded(given)).resolve()
        if not path.is_relative_to(self.path):
            raise ValueError(
                f"{path} is outside of {self.path}: set files.root to / to allow every path"
            )
        return path

    def _in_a_folder(self, given: str) -> Path:
        path = self.resolve(given)
        if path.parent == self.path:
            self.path.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir():
            raise ValueError(f"{path}: there is no directory {path.parent}")
        return path
