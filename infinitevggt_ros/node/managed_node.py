# SPDX-License-Identifier: Apache-2.0
"""A managed node (lifecycle_msgs) whose transitions may take their time."""

from collections.abc import Callable

from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn
from rclpy.node import Node

from infinitevggt_ros.node.threads import in_thread


class ManagedNode(LifecycleNodeMixin, Node):
    """rclpy's LifecycleNode calls on_configure and its siblings in the executor, which a checkpoint
    that loads would block for minutes. Here they are called in a thread of their own: parameters,
    timers and the other services go on, and `ros2 lifecycle get` says `configuring` meanwhile."""

    def __init__(self, name: str) -> None:
        Node.__init__(self, name)
        self.problem = ""
        """Why the last transition that failed did."""
        self._is_starting_itself = False
        # a group of its own: in the node's, one request that waits would hold up all the rest
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        service = next(s for s in self.services if s.srv_type is ChangeState)
        change_state = service.callback

        async def beside_the_executor(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            return await in_thread(lambda: change_state(request, response))

        service.callback = beside_the_executor

    @property
    def lifecycle_state(self) -> str:
        """unconfigured, configuring, inactive, activating, active, ... (lifecycle_msgs/State)."""
        return str(self._state_machine.current_state[1])  # no public way in rclpy

    def start_itself(self, fail: Callable[[str], object]) -> None:
        """Configure and activate, as a lifecycle manager would; returns at once. fail: called with
        the reason if that is not possible, in another thread; not where a lifecycle manager was
        quicker, which has the node then."""

        def start() -> None:
            for trigger in (self.trigger_configure, self.trigger_activate):
                result = trigger()
                if result == TransitionCallbackReturn.FAILURE:
                    fail(self.problem)
                    return
                if result != TransitionCallbackReturn.SUCCESS:  # rclpy has said which
                    break
            self._is_starting_itself = False

        self._is_starting_itself = True
        in_thread(start)

    def attempt(self, transition: str, action: Callable[[], str]) -> TransitionCallbackReturn:
        """Success if the action returns no reason why it is none. What it raises is a reason too;
        rclpy itself would keep it quiet."""
        try:
            problem = action()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if not problem:
            return TransitionCallbackReturn.SUCCESS
        self.problem = problem
        if not self._is_starting_itself:  # then it is the last word of the program
            self.get_logger().error(f"{transition} failed: {problem}")
        return TransitionCallbackReturn.FAILURE
