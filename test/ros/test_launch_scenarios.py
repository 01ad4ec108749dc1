# SPDX-License-Identifier: Apache-2.0
"""The scenarios once more, with launch_testing: it starts the processes, and sees how they end.

A scenario is the test named, as it runs with plain processes everywhere; here the fixture `spawn`
starts processes of launch. `pytest` finds this file, and `launch_test` takes it too.
"""

import os
import signal
import subprocess
import unittest
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest

pytest.importorskip("launch_testing")

import launch_testing.markers
from launch import LaunchDescription, LaunchService
from launch.actions import ExecuteProcess
from launch.events import matches_action
from launch.events.process import SignalProcess
from launch_testing.actions import ReadyToTest
from launch_testing.asserts import assertExitCodes
from launch_testing.io_handler import ActiveIoHandler
from launch_testing.proc_info_handler import ActiveProcInfoHandler, ProcInfoHandler
from launch_testing.tools import ProcessProxy, launch_process

# for a pytest inside another, in a thread: launch has the main thread, and with it the signals
OPTIONS = "-s", "-p", "no:cacheprovider", "-o", "timeout_method=thread"
ENDED, KILLED = 0, -signal.SIGKILL
SCENARIOS = {
    "looped bag": (
        "test_node_images.py",
        "test_a_looped_bag_restarts_the_stream_instead_of_silencing_it",
    ),
    "QoS mismatch": (
        "test_rig.py",
        "test_the_qos_of_one_topic_is_overridden_and_of_no_other",
    ),
    "storm of parameters": (
        "test_node_robustness.py",
        "test_a_storm_of_parameters_leaves_what_was_accepted",
    ),
    "malformed messages": (
        "test_node_images.py",
        "test_bad_images_are_refused_one_by_one_and_the_next_good_one_works",
    ),
    "clock jump": (
        "test_node_robustness.py",
        "test_a_clock_that_jumps_back_starts_a_new_map_at_once",
    ),
    "kill and restart": (
        "test_node_map.py",
        "test_a_new_process_goes_on_in_the_world_of_the_last",
    ),
    "two cameras": (
        "test_rig.py",
        "test_a_rig_has_one_map_and_one_place_by_every_camera",
    ),
    "stamp equality": (
        "test_node.py",
        "test_every_output_carries_the_stamp_and_frame_of_its_image",
    ),
    "axes": (
        "test_node.py",
        "test_the_map_is_parent_of_the_root_the_camera_hangs_in",
    ),
    "TF tree": (
        "test_tf_modes.py",
        "test_map_to_odom_corrects_the_odometry_and_is_sent_again",
    ),
}


class LaunchedProcess:
    """A process of launch, with the methods of subprocess.Popen that the tests call."""

    def __init__(self, service: LaunchService, proxy: ProcessProxy) -> None:
        self.service = service
        self.proxy = proxy

    @property
    def pid(self) -> int:
        return self.proxy.target_process_action.process_details["pid"]

    @property
    def returncode(self) -> int | None:
        return self.proxy.exit_code if self.proxy.terminated else None

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self.proxy.wait_for_shutdown(timeout):
            raise subprocess.TimeoutExpired(self.proxy.target_process_action.cmd, timeout)
        return self.proxy.exit_code

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        return self.proxy.output, None

    def send_signal(self, number: signal.Signals) -> None:
        of_this = matches_action(self.proxy.target_process_action)
        self.service.emit_event(SignalProcess(signal_number=number, process_matcher=of_this))

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class LaunchedProcesses:
    """A plugin of pytest that starts the processes of its tests with launch."""

    __name__ = "launched"  # by which the fixture `spawn` finds it

    def __init__(
        self, service: LaunchService, proc_info: ActiveProcInfoHandler, proc_output: ActiveIoHandler
    ) -> None:
        self.service = service
        self.proc_info = proc_info
        self.proc_output = proc_output
        self.ends = ExitStack()

    def start(self, command: list[str]) -> LaunchedProcess:
        action = ExecuteProcess(cmd=command, name=Path(command[0]).name)
        proxy = self.ends.enter_context(
            launch_process(self.service, action, self.proc_info, self.proc_output)
        )
        self.proc_info.assertWaitForStartup(action, timeout=60)
        return LaunchedProcess(self.service, proxy)

    def pytest_unconfigure(self) -> None:
        self.ends.close()


@pytest.mark.launch_test
@pytest.mark.ros
@pytest.mark.timeout(0)  # each scenario has its own
@launch_testing.parametrize("scenario", SCENARIOS)
@launch_testing.markers.keep_alive
def generate_test_description(scenario: str) -> LaunchDescription:
    """Empty: the scenario itself says what to start, and when."""
    return LaunchDescription([ReadyToTest()])


class TestScenario(unittest.TestCase):
    def test_it_passes(
        self,
        scenario: str,
        launch_service: LaunchService,
        proc_info: ActiveProcInfoHandler,
        proc_output: ActiveIoHandler,
    ) -> None:
        launched = LaunchedProcesses(launch_service, proc_info, proc_output)
        file, test = SCENARIOS[scenario]
        place = f"{Path(__file__).with_name(file)}::{test}"
        with mock.patch.dict(os.environ):  # the domain is the scenario's alone
            status = pytest.main([*OPTIONS, place], plugins=[launched])
        assert status == pytest.ExitCode.OK
        assert proc_info.processes(), "nothing was started by launch"


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    def test_every_process_ended_as_it_was_told_to(
        self, scenario: str, proc_info: ProcInfoHandler
    ) -> None:
        codes = [ENDED, KILLED] if scenario == "kill and restart" else [ENDED]
        assertExitCodes(proc_info, allowable_exit_codes=codes)
