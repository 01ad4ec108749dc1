# SPDX-License-Identifier: Apache-2.0
"""Services write below one folder, whatever a request says."""

from pathlib import Path

import pytest

from infinitevggt_ros.node.file_root import FileRoot, default_root


def test_a_relative_path_is_below_the_root_which_is_made(tmp_path: Path) -> None:
    files = FileRoot(str(tmp_path / "data"))
    assert files.for_writing("map.ply") == tmp_path / "data" / "map.ply"
    assert (tmp_path / "data").is_dir()


@pytest.mark.parametrize("given", ["../map.ply", "/etc/map.ply", "link/map.ply", "~root/map.ply"])
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, given: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"set files\.root to / to allow every path"):
        FileRoot(str(root)).for_writing(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "the path is empty"),
        ("none/map.ply", "there is no directory .*none$"),
        ("folder", "it is a directory"),
        ("~nobody_of_this_name/map.ply", "~nobody_of_this_name"),
    ],
)
def test_a_path_that_cannot_be_written_is_explained(tmp_path: Path, given: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=words):
        FileRoot(str(tmp_path)).for_writing(given)


def test_the_home_directory_has_a_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_root() == tmp_path / ".local" / "share" / "infinitevggt"
    assert FileRoot("~/maps").for_writing("a.ply") == tmp_path / "maps" / "a.ply"
    assert FileRoot("/").for_writing("~/a.ply") == tmp_path / "a.ply"
