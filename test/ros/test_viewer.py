# SPDX-License-Identifier: Apache-2.0
"""Data of the page and, with viser, the page itself, beside a real node."""

import sys
import urllib.request
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Point, Pose, PoseStamped
from nav_msgs.msg import Path
from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from infinitevggt_core import MemoryConfig
from infinitevggt_ros.commands import cli
from infinitevggt_ros.output import messages
from infinitevggt_ros.viewer import arrays
from infinitevggt_ros.viewer.curves import Curves
from infinitevggt_ros.viewer.latest import Latest
from infinitevggt_ros.viewer.options import MEMORY_PARAMETERS, ViewerOptions
from infinitevggt_ros.viewer.viewer import Viewer
from support.camera import Camera, Spawn, film, info_message
from support.listening import Listener
from support.node_process import NODE, call, started

BUDGET = "memory.total_budget"


class FakePage:
    """Keeps everything that it is given to show."""

    def __init__(self) -> None:
        self.on_request: Any = None
        self.shown: dict[str, Any] = {}
        self.parameters: dict[str, Any] = {}

    def show_parameter(self, name: str, value: Any, control: Any) -> None:
        self.parameters[name] = value

    def __getattr__(self, name: str) -> Any:
        def show(*values: Any) -> None:
            self.shown[name] = values

        return show


def test_curves_keep_the_latest_frames_that_were_used() -> None:
    curves = Curves(3)
    for i in range(5):
        curves.add(
            float(i),
            memory_bytes=i * 10**6,
            tokens=1000 * i + 500,
            budget=9000,
            latency_ms=2.0,
            inference_ms=1.0,
        )
    columns = curves.columns()
    assert curves.frames == 5
    np.testing.assert_array_equal(columns["seconds"], [2, 3, 4])
    np.testing.assert_array_equal(columns["memory_mb"], [2, 3, 4])
    np.testing.assert_array_equal(columns["kilotokens"], [2.5, 3.5, 4.5])
    assert all(len(column) == 0 for column in Curves(3).columns().values())


def test_a_large_cloud_is_thinned_evenly_with_its_colours() -> None:
    points = np.arange(3000, dtype=np.float32).reshape(-1, 3)
    colors = np.tile(np.float32([1, 0.4, 0]), (1000, 1))
    cloud = messages.cloud(Header(), points, colors, points[:, 0])
    shown, rgb = arrays.cloud_arrays(cloud, 11)
    np.testing.assert_array_equal(shown[[0, -1]], points[[0, -1]])
    assert shown.shape == (11, 3)
    assert set(map(tuple, rgb.tolist())) == {(255, 102, 0)}
    assert len(arrays.cloud_arrays(cloud, 1000)[0]) == 1000


def test_a_path_becomes_the_pieces_between_its_poses() -> None:
    poses = [PoseStamped(pose=Pose(position=Point(x=float(i)))) for i in range(3)]
    segments = arrays.path_segments(Path(poses=poses))
    assert segments.tolist() == [[[0, 0, 0], [1, 0, 0]], [[1, 0, 0], [2, 0, 0]]]
    assert arrays.path_segments(Path()).shape == (0, 2, 3)


def test_depth_without_a_single_value_is_a_dark_picture() -> None:
    depth = np.full((10, 100), np.nan, np.float32)
    picture = arrays.depth_picture(messages.float_image(Header(), depth), 30)
    assert picture.shape == (3, 30, 3)
    assert picture.max() < 30


def test_the_view_angle_is_that_of_the_calibration() -> None:
    info = info_message(48, 64, 0)
    fov, aspect = arrays.view_angle(info)
    assert np.tan(fov / 2) == pytest.approx(24 / (0.7 * 64))
    assert aspect == pytest.approx(4 / 3)
    info.k = [0.0] * 9
    assert arrays.view_angle(info) == arrays.UNKNOWN_VIEW


@pytest.mark.ros
def test_only_the_newest_message_is_taken_once_and_not_too_soon(ros: ModuleType) -> None:
    latest = Latest(ros.create_node("latest"), Header, "header", period_s=2.0)
    for i in range(3):
        latest.keep(serialize_message(Header(frame_id=str(i))))
    taken = latest.take(10.0)
    assert taken is not None
    assert taken.frame_id == "2"
    latest.keep(serialize_message(Header(frame_id="3")))
    assert latest.take(11.9) is None
    assert latest.take(12.0) == Header(frame_id="3")
    assert latest.take(99.0) is None


@pytest.mark.ros
def test_the_page_shows_the_node_and_sets_its_memory(listener: Listener, spawn: Spawn) -> None:
    page = FakePage()
    options = ViewerOptions(node=NODE, map_points=100, map_period_s=0.1, period_s=0.05)
    viewer = Viewer(listener.node, page, options)  # type: ignore[arg-type]
    camera = started(listener, spawn, "stream_node", "--ros-args", "-p", "output.map_period:=0.05")
    listener.spin_until(lambda: page.parameters.keys() == set(MEMORY_PARAMETERS))
    send_until_all_is_shown(camera, page)
    assert len(page.shown["show_map"][0]) == 100

    page.on_request(BUDGET, 4_000)
    page.on_request(BUDGET, 50_000)  # a slider that is dragged: the last one counts
    listener.spin_until(lambda: page.parameters[BUDGET] == 50_000)
    page.on_request("memory.policy", "no such policy")
    listener.spin_until(lambda: "show_refusal" in page.shown)
    assert "no such policy" in page.shown["show_refusal"][0]
    assert page.parameters["memory.policy"] == MemoryConfig().policy

    call(listener, Trigger, "reset", Trigger.Request())
    listener.spin_until(lambda: len(page.shown["show_map"][0]) == 0)
    assert viewer.parameters.is_known


@pytest.mark.ros
def test_the_page_shows_a_camera_of_a_rig_and_its_map(listener: Listener, spawn: Spawn) -> None:
    page = FakePage()
    options = ViewerOptions(node=NODE, camera="left", map_period_s=0.1, period_s=0.05)
    Viewer(listener.node, page, options)  # type: ignore[arg-type]
    rig = "-p", "cameras:=[left, right]", "-p", "rig.mode:=independent"
    spawn("stream_node", "--ros-args", "-p", "output.map_period:=0.05", *rig)
    camera = Camera(listener, topic="/left/image", name="left")
    camera.wait_for_node()
    send_until_all_is_shown(camera, page)
    assert len(page.shown["show_map"][0]) > 0


def send_until_all_is_shown(camera: Camera, page: FakePage) -> None:
    wanted = {"show_camera", "show_view_angle", "show_path", "show_map", "show_depth"}
    wanted |= {"show_curves", "show_state"}
    camera.send_film(film(4, 240, 320))
    camera.listener.spin_until(lambda: wanted <= page.shown.keys())


def test_without_viser_the_command_names_the_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    monkeypatch.delitem(sys.modules, "infinitevggt_ros.viewer.page", raising=False)
    assert cli.main(["viewer"]) == 1
    assert capsys.readouterr().err == "infinitevggt: the viewer needs viser: pip install viser\n"


def test_a_slider_follows_the_node_and_moves_only_by_hand() -> None:
    pytest.importorskip("viser")
    from infinitevggt_ros.viewer.controls import Control
    from infinitevggt_ros.viewer.page import Page

    page = Page("127.0.0.1", 8080)
    requests: list[Any] = []
    page.on_request = lambda *request: requests.append(request)
    try:
        for value in (600_000, 5_000_000, 10):
            page.show_parameter(BUDGET, value, Control())
            slider = page.controls[BUDGET]
            assert slider.value == value
            assert slider.min <= value <= slider.max
        assert requests == []  # a value that the node reports is not requested again
        assert page.url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(page.url) as answer:
            assert b"<html" in answer.read().lower()
    finally:
        page.close()
