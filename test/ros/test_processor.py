# SPDX-License-Identifier: Apache-2.0
"""Use of the processor beside other programs."""

import os
import subprocess
import sys

import pytest

from infinitevggt_ros.processor import thread_count, use_passive_waits


def test_idle_threads_sleep_unless_somebody_wants_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    use_passive_waits()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    use_passive_waits()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    "module", ["infinitevggt_ros.node.stream_node", "infinitevggt_ros.commands.cli"]
)
def test_the_policy_is_set_before_torch_is_imported(module: str) -> None:
    script = (
        "import builtins, os, sys\n"
        "load = builtins.__import__\n"
        "def watched(name, *rest):\n"
        "    if name == 'torch' and 'torch' not in sys.modules:\n"
        "        print(os.environ.get('OMP_WAIT_POLICY')); sys.stdout.flush(); os._exit(0)\n"
        "    return load(name, *rest)\n"
        "builtins.__import__ = watched\n"
        f"from {module} import main\n"
        "sys.argv = ['any', 'info', 'tiny']\n"
        "main()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        timeout=280,
    )
    assert done.stdout.strip() == "PASSIVE", done.stdout + done.stderr


def test_all_cores_but_one_unless_a_number_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert thread_count(0) == 3
    assert thread_count(2) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert thread_count(0) == 1
