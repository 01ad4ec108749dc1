# SPDX-License-Identifier: Apache-2.0
"""A managed node (lifecycle_msgs) whose transitions may take their time."""

from collections.abc import Callable

from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn
from rclpy.node import Node

from infinitevggt_ros.node.threads import in_thread
from infinitevggt_ros.params import rclpy_compat


class TransitionError(Exception):
    """A transition that cannot be made; the message gives the reason."""


class ManagedNode(LifecycleNodeMixin, Node):
    """Lifecycle node that calls on_configure and its siblings in a thread of their own.

    rclpy's LifecycleNode calls them in the executor, which a loading checkpoint would block for
    minutes. Here parameters, timers and the other services go on, and `ros2 lifecycle get` says
    `configuring` meanwhile.
    """

    def __init__(self, name: str) -> None:
        Node.__init__(self, name)
        self.problem = ""
        """Reason of the last transition that failed."""
        self.is_starting_itself = False
        """True while `start_itself` is at work."""
        # a group of its own: in the node's, one request that waits would hold up all the rest
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        service = rclpy_compat.change_state_service(self.services)
        change_state = service.callback

        async def beside_the_executor(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            return await in_thread(lambda: change_state(request, response))

        service.callback = beside_the_executor

    @property
    def lifecycle_state(self) -> str:
        """State of the node (lifecycle_msgs/State): unconfigured, configuring, inactive, ..."""
        return rclpy_compat.lifecycle_state(self)

    def start_itself(self, fail: Callable[[str], object]) -> None:
        """Configure and activate, as a lifecycle manager would. Returns at once.

        fail: called in another thread with the reason of a failure; not if a lifecycle manager was
        quicker, which then controls the node.
        """

        def start() -> None:
            for trigger in (self.trigger_configure, self.trigger_activate):
                result = trigger()
                if result == TransitionCallbackReturn.FAILURE:
                    fail(self.problem)
                    return
                if result != TransitionCallbackReturn.SUCCESS:  # rclpy has logged why
                    break
            self.is_starting_itself = False

        self.is_starting_itself = True
        in_thread(start)

    def attempt(self, transition: str, action: Callable[[], object]) -> TransitionCallbackReturn:
        """Return success if the action raises nothing. The reason of a failure is logged, because
        rclpy itself would not show it."""
        try:
            action()
        except TransitionError as error:
            self.problem = str(error)
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"
        else:
            return TransitionCallbackReturn.SUCCESS
        if not self.is_starting_itself:  # then it is the last line of the program
            self.get_logger().error(f"{transition} failed: {self.problem}")
        return TransitionCallbackReturn.FAILURE
