# SPDX-License-Identifier: Apache-2.0
"""Services of the node."""

from pathlib import Path
from typing import Any

from geometry_msgs.msg import Pose, PoseWithCovarianceStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.node.file_root import FileRoot
from infinitevggt_ros.node.threads import in_thread
from infinitevggt_ros.node.worker import Answer, StreamWorker
from infinitevggt_ros.pose_messages import matrix_from_pose
from infinitevggt_ros.srv import Export, SetPose, UseFile
from infinitevggt_ros.stream.export import save_map
from infinitevggt_ros.stream.state_file import write_state
from infinitevggt_ros.stream.stream import Stream
from infinitevggt_ros.stream.stream_export import StreamExport
from infinitevggt_ros.topics import frame_name


class Services:
    """Each service waits for the worker's answer without blocking the others."""

    def __init__(self, node: Node, worker: StreamWorker, files: FileRoot) -> None:
        self._worker, self._files, self._node = worker, files, node
        group = ReentrantCallbackGroup()  # while one waits the others go on
        for kind, name, answer in (
            (Trigger, "reset", self._on_reset),
            (SetBool, "set_paused", self._on_set_paused),
            (Trigger, "pin_anchor", self._on_pin),
            (UseFile, "save_map", self._on_save_map),
            (UseFile, "save_state", self._on_save_state),
            (UseFile, "load_state", self._on_load_state),
            (Export, "export", self._on_export),
            (SetPose, "set_pose", self._on_set_pose),
        ):
            node.create_service(kind, f"~/{name}", answer, callback_group=group)
        node.create_subscription(
            PoseWithCovarianceStamped, "initialpose", self._on_initial_pose, 1, callback_group=group
        )

    async def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def reset(stream: Stream) -> str:
            stream.reset("asked to")
            return "the next image starts a new map"

        return _filled(response, await self._worker.submit(reset))

    async def _on_pin(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def pin(stream: Stream) -> str:
            return f"frame {stream.session.pin()} stays in memory"

        return _filled(response, await self._worker.submit(pin))

    async def _on_save_map(
        self, request: UseFile.Request, response: UseFile.Response
    ) -> UseFile.Response:
        try:
            path = self._files.for_writing(request.path)
        except (OSError, ValueError) as error:
            return _filled(response, Answer(False, str(error)))
        answer = self._worker.submit(lambda stream: save_map(stream, path))
        return _filled(response, await answer)

    async def _on_export(
        self, request: Export.Request, response: Export.Response
    ) -> Export.Response:
        try:
            export = StreamExport(self._files.for_new_folder(request.folder), request.formats)
        except (OSError, ValueError) as error:
            return _filled(response, Answer(False, str(error)))
        try:
            answer = await self._worker.submit(export.take)
            if answer.success:
                response.paths = [str(path) for path in await in_thread(export.finish)]
        except Exception as error:  # the client must not wait for ever
            known = isinstance(error, (CommandError, OSError))
            answer = Answer(False, str(error) if known else f"{type(error).__name__}: {error}")
        finally:
            export.abandon()
        return _filled(response, answer)

    async def _on_save_state(
        self, request: UseFile.Request, response: UseFile.Response
    ) -> UseFile.Response:
        try:
            path = self._files.for_writing(request.path)
        except (OSError, ValueError) as error:
            return _filled(response, Answer(False, str(error)))
        snapshots: dict[Path, dict[str, Any]] = {}

        def copy(stream: Stream) -> str:
            file = stream.path_for_stream(path)
            snapshots[file] = stream.state_dict()
            return f"frame {stream.session.frame_index} of map {stream.map_id} in {file}"

        def write() -> None:
            for file, snapshot in snapshots.items():
                write_state(file, snapshot)

        answer = await self._worker.submit(copy)
        if answer.success:  # a disk is slower than a camera: the stream goes on meanwhile
            try:
                await in_thread(write)
            except OSError as error:
                answer = Answer(False, str(error))
        return _filled(response, answer)

    async def _on_load_state(
        self, request: UseFile.Request, response: UseFile.Response
    ) -> UseFile.Response:
        try:
            path = self._files.resolve(request.path)
        except ValueError as error:
            return _filled(response, Answer(False, str(error)))

        def load(stream: Stream) -> str:
            stream.load_world(path)
            return f"goes on from frame {stream.session.frame_index} of map {stream.map_id}"

        return _filled(response, await self._worker.submit(load))

    async def _on_set_pose(
        self, request: SetPose.Request, response: SetPose.Response
    ) -> SetPose.Response:
        return _filled(response, await self._set_pose(request.pose.header, request.pose.pose))

    async def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        answer = await self._set_pose(message.header, message.pose.pose, is_planar=True)
        logger = self._node.get_logger()
        (logger.info if answer.success else logger.warning)(f"initialpose: {answer.message}")

    async def _set_pose(self, header: Header, pose: Pose, *, is_planar: bool = False) -> Answer:
        try:
            matrix = matrix_from_pose(pose)
        except ValueError as error:
            return Answer(False, str(error))

        def place(stream: Stream) -> str:
            if frame_name(header.frame_id) != stream.map_frame:
                raise ValueError(f"the pose must be in {stream.map_frame}, not {header.frame_id!r}")
            return f"{stream.set_pose(matrix, is_planar=is_planar)} is placed in {stream.map_frame}"

        return await self._worker.submit(place)

    def _on_set_paused(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        self._worker.is_paused = bool(request.data)
        text = "images are dropped" if request.data else "images are used"
        return _filled(response, Answer(True, text))


def _filled(response: Any, answer: Answer) -> Any:
    response.success, response.message = answer.success, answer.message
    return response
