# SPDX-License-Identifier: Apache-2.0
"""`stream_node`: the executable of the node."""

import gc
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from infinitevggt_ros.processor import use_passive_waits

use_passive_waits()  # before the node imports torch

LEAVE_WITHIN_S = 1.0
"""Longest wait for the current frame or for loading weights when the node stops, s."""
SAVE_WITHIN_S = 4.0
"""The same if the stream is saved then; a second before `ros2 launch` sends SIGTERM."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop, which ends the process. Return the exit status if it
    cannot start."""
    # rclpy's own handler ends the spin on SIGINT; without KeyboardInterrupt on top of it, a second
    # one (ros2 launch sends it) cannot cut the clean-up short. While the node starts, it must.
    start = _Start()
    signal.signal(signal.SIGINT, start.interrupt)
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        # here, because these take a second or two, in which Ctrl-C should end the program quietly
        from rclpy.exceptions import ParameterException

        from infinitevggt_ros.node.node import StreamNode

        _init(list(sys.argv if args is None else args))
        node = StreamNode()
    except (ParameterException, ValueError) as error:
        print(f"stream_node: {error}", file=sys.stderr)
        return 1
    start.is_over = True
    status = 0
    try:
        status = _spin(node)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _leave(node, status)
    del node
    gc.collect()  # what is left of the node leaves DDS
    _exit(status)


class _Start:
    """Handler of SIGINT, beside that of rclpy."""

    is_over = False

    def interrupt(self, *_: object) -> None:
        if not self.is_over:  # nothing has begun; an exception would surface in any callback
            os._exit(0)


def _init(args: list[str]) -> None:
    """Initialise ROS. Raises ValueError for arguments or parameter files that ROS cannot read."""
    import rclpy

    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # rcl's, with places in its sources and line breaks
        text = " ".join(str(error).removeprefix("failed to initialize rcl: ").split())
        text = re.sub(r" ?, at \S+:\d+", "", text)
        raise ValueError(f"ROS cannot use its arguments: {text}") from error


def _spin(node: Any) -> int:
    import rclpy
    from rclpy.executors import ExternalShutdownException

    try:
        rclpy.spin_until_future_complete(node, node.ended)
    except ExternalShutdownException:
        return 0
    except Exception:
        if rclpy.ok():
            raise
        return 0  # a signal shut ROS down in the middle of a callback: what it called there failed
    if node.ended.done() and node.ended.result():
        print(f"stream_node: {node.ended.result()}", file=sys.stderr)
        return 1
    return 0


def _leave(node: Any, status: int) -> None:
    import rclpy

    if not node.worker.stop(SAVE_WITHIN_S if node.saves_at_the_end else LEAVE_WITHIN_S):
        # it still computes or loads, and cannot be stopped; what it uses must not be destroyed
        _exit(status)
    node.destroy_node()
    # not rclpy.try_shutdown: of some versions it uninstalls the signal handlers
    rclpy.get_default_context().try_shutdown()


def _exit(status: int) -> NoReturn:
    """End the process at once: Python's own clean-up would take another second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
