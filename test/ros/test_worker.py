# SPDX-License-Identifier: Apache-2.0
"""The inference thread: that there is one, and that its end saves what it can."""

from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from infinitevggt_ros.node import worker as module
from infinitevggt_ros.stream import state_file
from support.listening import wait_until
from support.rig import IMAGES, PAIR, Rig


def test_a_thread_that_is_just_starting_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The life cycle starts it beside the executor, which looks after it."""
    rig = Rig()
    revived: list[bool] = []
    looking = Thread(target=lambda: revived.append(rig.worker.revive()))

    class Slow(Thread):
        def start(self) -> None:
            if not looking.is_alive() and not revived:
                looking.start()
                looking.join(0.2)
            super().start()

    monkeypatch.setattr(module, "Thread", Slow)
    rig.worker.start()
    looking.join()
    assert rig.worker.stop()
    assert revived == [False]


def test_a_stream_that_cannot_be_saved_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rig = Rig(replace(PAIR, state=replace(PAIR.state, path=str(tmp_path / "s.pt"))))
    left = rig.streams[0]
    rig.take_together({"left": IMAGES[0], "right": IMAGES[0]}, 1)

    def broken() -> None:
        raise MemoryError("no room for a copy")

    monkeypatch.setattr(left, "state_dict", broken)
    rig.worker.start()
    assert rig.worker.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["s_right.pt"]
    assert any("no room for a copy" in text for text in rig.warnings)


def test_a_file_that_hangs_keeps_no_other_stream_from_being_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rig = Rig(replace(PAIR, state=replace(PAIR.state, path=str(tmp_path / "s.pt"))))
    rig.take_together({"left": IMAGES[0], "right": IMAGES[0]}, 1)
    write, hangs_no_more = state_file.write_state, Event()

    def hanging(path: Path, state: dict[str, Any]) -> None:
        if path.stem == "s_left":
            hangs_no_more.wait()
        write(path, state)

    monkeypatch.setattr(state_file, "write_state", hanging)
    rig.worker.start()
    assert not rig.worker.stop(0)
    wait_until((tmp_path / "s_right.pt").exists)
    hangs_no_more.set()
    assert rig.worker.stop()
    assert (tmp_path / "s_left.pt").exists()
