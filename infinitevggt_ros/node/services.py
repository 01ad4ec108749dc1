# SPDX-License-Identifier: Apache-2.0
"""Services of the node."""

from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from infinitevggt_ros.node.threads import in_thread
from infinitevggt_ros.node.worker import Answer, StreamWorker
from infinitevggt_ros.srv import UseFile
from infinitevggt_ros.stream.export import save_map
from infinitevggt_ros.stream.state_file import write_state
from infinitevggt_ros.stream.stream import Stream


class Services:
    """Each service waits for the worker's answer without blocking the others."""

    def __init__(self, node: Node, worker: StreamWorker) -> None:
        self._worker = worker
        group = ReentrantCallbackGroup()  # while one waits the others go on
        for kind, name, answer in (
            (Trigger, "reset", self._on_reset),
            (SetBool, "set_paused", self._on_set_paused),
            (Trigger, "pin_anchor", self._on_pin),
            (UseFile, "save_map", self._on_save_map),
            (UseFile, "save_state", self._on_save_state),
            (UseFile, "load_state", self._on_load_state),
        ):
            node.create_service(kind, f"~/{name}", answer, callback_group=group)

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
        path = Path(request.path).absolute()
        answer = self._worker.submit(lambda stream: save_map(stream, path))
        return _filled(response, await answer)

    async def _on_save_state(
        self, request: UseFile.Request, response: UseFile.Response
    ) -> UseFile.Response:
        path = Path(request.path).absolute()
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
        path = Path(request.path).absolute()

        def load(stream: Stream) -> str:
            stream.load_world(path)
            return f"goes on from frame {stream.session.frame_index} of map {stream.map_id}"

        return _filled(response, await self._worker.submit(load))

    def _on_set_paused(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        self._worker.is_paused = bool(request.data)
        text = "images are dropped" if request.data else "images are used"
        return _filled(response, Answer(True, text))


def _filled(response: Any, answer: Answer) -> Any:
    response.success, response.message = answer.success, answer.message
    return response
