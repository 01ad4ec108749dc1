# SPDX-License-Identifier: Apache-2.0
"""Processes of the demo end with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="by a signal of Linux")
PARENT = """
import sys
from infinitevggt_ros.demo.run import start
start(print, "support.fifo_holder", sys.argv[1]).wait()
"""


def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(fifo)])
    try:
        with fifo.open() as held:
            assert held.readline() == "up\n"
            parent.kill()
            assert held.read() == "", "reads until the last writer has ended"
    finally:
        parent.kill()
        parent.wait()
