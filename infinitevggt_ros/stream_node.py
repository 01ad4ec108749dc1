"""`stream_node`: the executable of the node."""

import signal
import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop; exit status."""
    # rclpy's own handler ends the spin on SIGINT; without KeyboardInterrupt on top of it, a second
    # one (ros2 launch sends it) cannot cut the clean-up short. While the node loads, it must.
    is_loading = True

    def interrupt(*_: object) -> None:
        if is_loading:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    node = rclpy = None
    try:
        # here, because these take a second or two, in which Ctrl-C should end the program quietly
        import rclpy
        from rclpy.exceptions import ParameterException
        from rclpy.executors import ExternalShutdownException

        from infinitevggt_ros.node import StreamNode

        rclpy.init(args=list(sys.argv if args is None else args))
        try:
            node = StreamNode()
            is_loading = False
            rclpy.spin(node)
        except ExternalShutdownException:
            pass
        except (ParameterException, ValueError) as error:
            print(f"stream_node: {error}", file=sys.stderr)
            return 1
        except Exception:
            if rclpy.ok():
                raise
            # a signal shut ROS down in the middle of a callback: what it called there failed
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        if rclpy is not None:
            rclpy.try_shutdown(uninstall_handlers=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
