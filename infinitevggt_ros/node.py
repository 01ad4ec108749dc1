"""The ROS node: camera images in; tf, depth and a fused cloud out."""

import time

import torch
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from infinitevggt_core import VGGT, StreamSession, load_checkpoint
from infinitevggt_ros import parameters
from infinitevggt_ros.image_subscription import ImageSubscription, image_topic
from infinitevggt_ros.outputs import Outputs
from infinitevggt_ros.settings import ModelSettings
from infinitevggt_ros.worker import StreamWorker

WARNING_PERIOD_S = 5.0


class StreamNode(Node):
    """Declares, subscribes, and leaves the work to its worker: the executor never blocks."""

    def __init__(self) -> None:
        super().__init__("infinitevggt")
        self._warned_s: dict[str, float] = {}
        settings = self._settings = parameters.declare(self)
        for text in parameters.unknown(self):
            self.warn(text, text)
        model = load_model(settings.model)
        if settings.model.is_random:
            self.get_logger().warning(
                f"{settings.model.source}: the weights are random, poses and depth mean nothing. "
                "Set model.checkpoint to a trained one"
            )
        topic = image_topic(self, settings.input)
        outputs = Outputs(self, settings.tf, settings.output, self.warn)
        session = StreamSession(model, settings.memory)
        self.worker = StreamWorker(session, settings, outputs, topic, self.warn)
        self._images = ImageSubscription(self, settings.input, self.worker.receive, self.warn)
        # best effort hears drivers of either kind
        calibrations = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, calibrations)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self.worker.start()
        self.get_logger().info(f"{settings.model.source} on {model.device}; waiting for {topic}")

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, at most one of a kind every 5 s. Kinds are few, so this stays small."""
        now_s = time.monotonic()
        if now_s - self._warned_s.get(kind, -WARNING_PERIOD_S) >= WARNING_PERIOD_S:
            self._warned_s[kind] = now_s
            self.get_logger().warning(text)

    def destroy_node(self) -> None:
        """Join the worker before its publishers go."""
        self.worker.stop()
        super().destroy_node()

    def _on_camera_info(self, info: CameraInfo) -> None:
        self.worker.calibration = info

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.worker.request_reset()
        response.success, response.message = True, "the next image starts a new map"
        return response

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        """Refuse what cannot work, with the reason; change nothing."""
        try:
            settings = parameters.with_changes(self._settings, changes)
            self.worker.session.check(settings.memory)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        self._settings = parameters.with_changes(self._settings, changes)
        self.worker.request(self._settings)


def load_model(settings: ModelSettings) -> VGGT:
    """The network of the settings, on its device, in its precision. Raises ValueError."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"model.device {device!r} is not to be had: {error}") from error
    model = load_checkpoint(settings.source, device=device)
    patch_size = model.config.patch_size
    if settings.image_size % patch_size:
        raise ValueError(f"model.image_size must be a multiple of {patch_size}")
    if settings.precision == "bf16" or (
        settings.precision == "auto" and model.device.type == "cuda"
    ):
        model.cast(torch.bfloat16)
    return model
