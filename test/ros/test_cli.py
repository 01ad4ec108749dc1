# SPDX-License-Identifier: Apache-2.0
"""The command line itself."""

import os
import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize("arguments", [["--help"], ["info"], ["evaluate", "bag", "--help"]])
def test_a_reader_that_has_enough_ends_it_without_a_word(arguments: list[str]) -> None:
    """As `infinitevggt info | head -1` may."""
    reader, writer = os.pipe()
    os.close(reader)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "infinitevggt_ros.commands.cli", *arguments]
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=env)
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE
