# SPDX-License-Identifier: Apache-2.0
"""Run a module in a process that ends when its parent does, even if that is killed.

Example: python -m infinitevggt_ros.demo.child PARENT_PID MODULE ARGUMENTS...
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Option of prctl (linux/prctl.h): the signal that this process gets when its parent ends."""


def main() -> None:
    parent, module, *arguments = sys.argv[1:]
    end_with(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def end_with(parent: int) -> None:
    """Let this process get SIGTERM when its parent ends. Does nothing on systems without prctl."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended before
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
