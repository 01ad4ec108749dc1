# SPDX-License-Identifier: Apache-2.0
"""End of a process with the one that started it."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Option of prctl (linux/prctl.h): the signal that this process gets when its parent ends."""


def end_with(parent: int) -> None:
    """Let this process get SIGTERM when its parent ends. Does nothing on systems without prctl."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended before
        os.kill(os.getpid(), signal.SIGTERM)
