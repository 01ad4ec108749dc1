# SPDX-License-Identifier: Apache-2.0
"""A stream without DDS: what a state that does not fit, and memory that is out, leave behind."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_ros.node.worker import Answer
from infinitevggt_ros.params.settings import Settings, StateSettings, TfSettings
from infinitevggt_ros.stream.export import save_map
from infinitevggt_ros.stream.state_file import read_state, remove_partials, write_state
from infinitevggt_ros.stream.stream import Stream
from support.camera import OPTICAL_FRAME
from support.rig import IMAGES, MAP, MODEL, ODOMETRY, PATH, SMALL, Rig
from support.scales import METRIC, use_scale
from support.transforms import OPTICAL, transform


def broken(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({name: value})


@pytest.mark.parametrize(
    "break_state",
    [
        broken("gate", (1, 2)),
        broken("gate", None),
        broken("trajectories", {}),
        broken("scale", None),
        broken("measured", (1.0, ["x"])),
        broken("map", None),
        lambda state: state.pop("trajectories"),
    ],
)
def test_a_state_that_is_refused_changes_nothing(
    break_state: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    rig, other = Rig(), Rig()
    other.push(2)
    state = other.stream.state_dict()
    break_state(state)
    write_state(tmp_path / "state.pt", state)
    rig.push(3)
    before = rig.contents
    with pytest.raises(ValueError, match=r"\w"):
        rig.stream.load_world(tmp_path / "state.pt")
    assert rig.contents == before
    rig.push(1)
    assert (rig.stream.session.frame_index, rig.stream.map_id) == (4, 0)
    assert len(rig.stream.trajectories[""].poses) == 4


def test_a_state_of_another_camera_memory_is_refused_whole() -> None:
    """The snapshot itself is sound; the settings cannot hold for it."""
    defaults = Settings(model=SMALL)
    shared = replace(defaults, memory=replace(defaults.memory, camera_memory="shared"))
    rig, other = Rig(), Rig(shared)
    other.push(2)
    rig.push(3)
    before = rig.stream.session
    with pytest.raises(ValueError, match="camera_memory"):
        rig.stream.load_state_dict(other.stream.state_dict())
    assert rig.stream.session is before
    assert (before.frame_index, before.memory) == (3, defaults.memory)


def test_a_stamp_far_behind_the_clock_is_warned_of_and_its_image_is_used() -> None:
    limit_s = Settings().time.max_behind
    now_s = [100.0]
    rig = Rig(now_ns=lambda: int(now_s[0] * 1e9))
    rig.take(IMAGES[0], int((100 - limit_s) * 1e9))
    assert rig.warnings == []
    now_s[0] = 200.0
    rig.take(IMAGES[1], int((200 - limit_s - 1) * 1e9))
    (text,) = rig.warnings
    assert f"/image: the stamp is {limit_s + 1:.1f} s behind the node's clock" in text
    assert "time.max_behind" in text
    assert rig.stream.session.frame_index == 2


def test_who_asks_gets_an_answer_whatever_breaks() -> None:
    rig = Rig()

    def broken_request(_: Stream) -> str:
        raise KeyError("nobody foresaw this")

    assert rig.ask(broken_request) == Answer(False, "KeyError: 'nobody foresaw this'")
    assert "nobody foresaw this" in rig.warnings[0]


def test_followers_of_the_map_forget_it_where_another_takes_its_place(tmp_path: Path) -> None:
    rig = Rig()
    rig.push(1)
    write_state(tmp_path / "state.pt", rig.stream.state_dict())
    settings = rig.stream.settings
    rig.stream.configure(replace(settings, map=replace(settings.map, max_age=7)))
    assert all(rig.updates), "the same voxels: nothing is to be forgotten"
    rig.stream.configure(replace(settings, map=replace(settings.map, voxel_size=0.5)))
    rig.pass_time()
    assert rig.updates[-1] == 0
    rig.stream.configure(settings)
    rig.push(1)
    rig.stream.load_world(tmp_path / "state.pt")
    rig.pass_time()
    assert rig.updates[-1] == 0
    assert rig.stream.map_id == 1, "another world than the one that ran"
    started = Rig()
    started.stream.load_world(tmp_path / "state.pt")
    assert started.stream.map_id == 0, "the world that it left"


def test_no_stamp_comes_twice_on_the_map() -> None:
    """Other settings are no other map, and an empty one is not that of the last image."""
    settings = Settings(model=SMALL)
    rig = Rig(replace(settings, output=replace(settings.output, map_period=0.05)))
    rig.push(1)
    for changes in ({"max_age": 7}, {"min_confidence": 2.0}, {"voxel_size": 0.5}):
        time.sleep(0.06)  # it is due
        rig.push(int(not rig.stream.map.config.max_age))
        settings = rig.stream.settings
        rig.stream.configure(replace(settings, map=replace(settings.map, **changes)))
        rig.pass_time()
    clouds = rig.messages(MAP)
    assert [cloud.width > 0 for cloud in clouds] == [True, True, False]
    stamps = [(cloud.header.stamp.sec, cloud.header.stamp.nanosec) for cloud in clouds]
    assert len(stamps) == len(set(stamps))
    assert stamps[-1] == (0, 0)


def test_out_of_memory_loses_the_frame_and_not_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    rig.push(2)

    def fail(*_args: object, **_options: object) -> None:
        raise torch.OutOfMemoryError("no memory at all")

    with monkeypatch.context() as patch:
        patch.setattr(MODEL.depth_head, "forward", fail)
        with pytest.raises(torch.OutOfMemoryError):
            rig.push(1)
    assert not rig.stream.is_corrupted
    rig.push(1)
    assert rig.stream.session.frame_index == 3


def places_in_odom(factors: tuple[float, ...]) -> np.ndarray:
    """Return positions in odom of a camera 0.3 m in front of base_link, with a scale per frame."""
    rig = Rig(replace(METRIC, tf=TfSettings(mode="odom_to_base", base_frame="base_link")))
    rig.hear_tf(transform("base_link", OPTICAL_FRAME, 0.3, OPTICAL), static=True)
    for factor in factors:
        use_scale(rig.stream, factor)
        rig.push(1)
    translations = [sent.transform.translation for sent in rig.transforms]
    return np.array([(t.x, t.y, t.z) for t in translations])


def test_a_new_scale_does_not_make_the_robot_jump_in_odom_nor_stand_still() -> None:
    before, after = (np.diff(places_in_odom((x,) * 4), axis=0) for x in (1.0, 1000.0))
    changed = np.diff(places_in_odom((1.0, 1.0, 1000.0, 1000.0)), axis=0)
    assert len(changed) == 3
    np.testing.assert_allclose(changed, [before[0], after[1], after[2]], rtol=1e-4, atol=1e-6)
    assert np.linalg.norm(changed[1]) > 10 * np.linalg.norm(changed[0])


def test_a_refined_scale_moves_the_past_and_not_the_camera() -> None:
    """Poses go on where they were; the path, the map and the pose stay together."""
    rig = Rig(METRIC)
    for factor in (2.0, 2.0, 2.0, 3.0, 3.0):
        use_scale(rig.stream, factor)
        rig.push(1)
    steady = Rig(METRIC)
    use_scale(steady.stream, 1.0)
    steady.push(5)
    odometry = [
        np.array([(p.x, p.y, p.z) for p in (m.pose.pose.position for m in heard)])
        for heard in (rig.messages(ODOMETRY), steady.messages(ODOMETRY))
    ]
    found, units = (np.diff(positions, axis=0) for positions in odometry)
    np.testing.assert_allclose(found, units * [[2], [2], [3], [3]], rtol=1e-4, atol=1e-7)
    path = [p.pose.position for p in rig.messages(PATH)[-1].poses]
    np.testing.assert_allclose([(p.x, p.y, p.z) for p in path][-1], odometry[0][-1], atol=1e-6)
    lengths = np.diff([(p.x, p.y, p.z) for p in path], axis=0)
    np.testing.assert_allclose(lengths, 3 * units, rtol=1e-4, atol=1e-7)


def test_outputs_in_metres_wait_for_the_scale() -> None:
    rig = Rig(METRIC)
    rig.push(2)
    empty = [topic for topic, message in rig.sent if getattr(message, "width", 0)]
    assert (rig.messages(ODOMETRY), rig.transforms, empty) == ([], [], [])
    assert rig.stream.snapshot("").waiting_for == "the scale from depth: 0 of 2 measurements"
    use_scale(rig.stream, 2.0)
    rig.push(1)
    (odometry,) = rig.messages(ODOMETRY)
    assert len(rig.messages(PATH)[-1].poses) == 3
    assert odometry.header.stamp.sec == 3
    assert rig.stream.snapshot("").waiting_for == ""
    rig.stream.reset("asked to")
    rig.push(1)
    assert len(rig.messages(ODOMETRY)) == 1, "another map has another unit"


def test_a_frozen_scale_is_known_again_after_a_load(tmp_path: Path) -> None:
    rig, other = Rig(METRIC), Rig(METRIC)
    rig.push(1)
    use_scale(rig.stream, 3.0)
    rig.push(1)
    other.stream.load_state_dict(rig.stream.state_dict())
    assert (other.stream.placement.scale, other.stream.is_metric) == (3.0, True)
    other.count = rig.count  # time goes on
    other.push(1)
    assert other.warnings == [], "nothing is measured any more"
    units = []
    for stream in (other.stream, Rig().stream):
        save_map(stream, tmp_path / "way.tum")
        units.append((tmp_path / "way.tum").read_text().splitlines()[0].rpartition("; ")[2])
    assert units == ["metres)", "unit of the stream)"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    names = [f".s[1].pt.0.{number}.partial" for number in (dead.pid, os.getpid(), "word")]
    kept = {"s[1].pt", f".other.pt.0.{dead.pid}.partial", *names[1:]}
    for name in {*names, *kept}:
        (tmp_path / name).write_text("x")
    remove_partials(tmp_path / "s[1].pt")
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_two_may_write_one_file_at_a_time(tmp_path: Path) -> None:
    """The state now and then, and the same file as somebody asks for it."""
    path = tmp_path / "state.pt"
    with whole_file(path) as one, whole_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one", "the last to end"
    assert list(tmp_path.iterdir()) == [path]


def test_what_could_not_be_saved_is_said_and_saved_when_it_can(tmp_path: Path) -> None:
    path = tmp_path / "none yet" / "state.pt"
    rig = Rig(Settings(model=SMALL, state=StateSettings(path=str(path))))
    rig.push(2)
    rig.stream.close()
    assert any("could not be saved" in text and str(path) in text for text in rig.warnings)
    path.parent.mkdir()
    rig.stream.close()
    assert (rig.stream.error, read_state(path)["session"]["frame_index"]) == ("", 2)
    rig.stream.reset("asked to")
    rig.push(2)
    rig.stream.close()
    assert read_state(path)["map_id"] == 1, "as many frames, of another map"
