# SPDX-License-Identifier: Apache-2.0
"""Benchmark of frames beside busy processes."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import busy


def test_frames_are_timed_without_and_beside_busy_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy, "CASES", {"one thread": busy.CASES["one thread"]})
    monkeypatch.setattr(busy, "WARM", 1)
    options = ["--out", str(tmp_path), "--blocks", "2", "--frames", "3", "--loops", "1"]
    monkeypatch.setattr(sys, "argv", ["busy", *options])
    assert busy.main() == 0
    record = json.loads((tmp_path / "busy.json").read_text())
    assert len(record["alone"]["one thread"]) == len(record["beside"]["one thread"]) == 6
    assert min(record["alone"]["one thread"] + record["beside"]["one thread"]) > 0


def test_the_table_gives_ratios() -> None:
    alone = {"default": [20.0], "passive": [30.0], "one thread": [40.0]}
    beside = {"default": [100.0, 120.0, 900.0], "passive": [60.0], "one thread": [60.0]}
    [default, passive, _] = busy.table(alone, beside).splitlines()[2:]
    assert default == "| default | 20 | 120 | 900 | 6.00 | 2.00 |"
    assert passive == "| passive | 30 | 60 | 60 | 2.00 | 1.00 |"
