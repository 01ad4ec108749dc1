# SPDX-License-Identifier: Apache-2.0
"""Write a line to the FIFO of argv and wait: whoever reads it sees the end of this process."""

import signal
import sys

with open(sys.argv[1], "w") as fifo:
    print("up", file=fifo, flush=True)
    signal.pause()
