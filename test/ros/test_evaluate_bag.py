"""`infinitevggt evaluate bag`: bags of a synthetic world, whose truth is known."""

import json
import pickle
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bag_making import read_bag
from rosbags.convert import convert
from scipy.spatial.transform import Rotation

from infinitevggt_core import load_checkpoint
from infinitevggt_core.worlds import World
from infinitevggt_ros import cli
from infinitevggt_ros.bag_truth import BagTruth
from infinitevggt_ros.bags.message_definitions import typestore_with
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.commands import CommandError
from infinitevggt_ros.evaluation.bag_source import BagSource, BagSpec
from infinitevggt_ros.evaluation.journal import Journal
from infinitevggt_ros.evaluation.stream_run import StreamRun
from infinitevggt_ros.evaluation.summary import advice, recommended
from infinitevggt_ros.evaluation.sweep import jobs_of
from infinitevggt_ros.settings import Settings

SEED, FRAMES, HEIGHT, WIDTH = 10_007, 12, 84, 112
MEASURED = ("trajectory", "depth", "reconstruction")
IMAGE, DEPTH, ODOMETRY = "/camera/image_raw", "/camera/depth/image_raw", "/odometry"


@pytest.fixture(scope="module")
def world_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "world.mcap"
    options = ["--seed", str(SEED), "--frames", str(FRAMES), "--level", "easy"]
    assert cli.main(["synthetic-bag", *options, "--size", f"{HEIGHT}x{WIDTH}", str(path)]) == 0
    return path


def evaluate(*arguments: object) -> int:
    return cli.main(["evaluate", "bag", *map(str, arguments)])


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def measured(folder: Path) -> dict[str, Any]:
    return {name: metrics(folder)[name] for name in MEASURED}


def rewritten(bag: Path, path: Path, rename: dict[str, tuple[str, Any]]) -> Path:
    """A copy with topics left out (None) or put through a function: {topic: (type, function)}."""
    store = typestore_with()
    with BagReader(bag) as reader, BagWriter(path) as writer:
        for topic, kind in reader.topics.items():
            writer.add_topic(topic, rename.get(topic, (kind, None))[0] or kind)
        for topic, at_ns, data in reader.messages():
            kind, change = rename.get(topic, (reader.topics[topic], bytes))
            if change is bytes:
                writer.write(topic, at_ns, data)
            elif change is not None:
                message = change(store.deserialize_cdr(data, reader.topics[topic]), store.types)
                writer.write(topic, at_ns, store.serialize_cdr(message, kind))
    return path


def only(topic: str, bag: Path, path: Path) -> Path:
    """A copy with nothing but one topic."""
    with BagReader(bag) as reader, BagWriter(path) as writer:
        writer.add_topic(topic, reader.topics[topic])
        for _, at_ns, data in reader.messages([topic]):
            writer.write(topic, at_ns, data)
    return path


def test_a_bag_leaves_all_figures_and_files(
    world_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    assert evaluate(world_bag, "--out", out) == 0
    said = capsys.readouterr().out
    for choice in (IMAGE, DEPTH, "/tf", "camera_optical_frame", "ATE", "AbsRel"):
        assert choice in said
    found = metrics(out)
    run = found["run"]
    assert (run["frames_in"], run["frames_used"], run["frames_rejected"]) == (FRAMES, FRAMES, 0)
    latency = run["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["max"]
    assert found["parameters"]["memory"]["total_budget"] == 600_000
    assert found["machine"]["device"]
    assert "commit" in found["machine"]
    assert set(found["depth"]) == {"scale", "scale_shift", "metric"}
    assert found["reconstruction"]["chamfer"] > 0
    lines = (out / "trajectory.tum").read_text().splitlines()
    assert len(lines) == FRAMES + 1
    assert lines[1].split()[0] == "1.000000000"
    topics = [topic for topic, _, _ in read_bag(out / "result.mcap")]
    for topic in ("/tf", "/infinitevggt/odometry", "/infinitevggt/depth/image"):
        assert topics.count(topic) == FRAMES
    assert topics.count("/infinitevggt/map") == 1
    assert not {"snapshot.pt", "journal"} & {path.name for path in out.iterdir()}


def test_the_truth_is_that_of_the_world(world_bag: Path) -> None:
    source = BagSource(BagSpec(world_bag))
    film = World(SEED, "easy").render(list(range(FRAMES)), HEIGHT, WIDTH)
    frames = list(source.frames())
    assert len(frames) == FRAMES
    for frame, pose, depth in zip(frames, film.camera_from_world, film.depth, strict=True):
        np.testing.assert_allclose(frame.truth.camera_from_world, pose.numpy(), atol=1e-5)
        np.testing.assert_allclose(frame.truth.depth, depth.numpy(), atol=1e-5)
    later = next(iter(source.frames(skip=5)))
    assert later.message.header == frames[5].message.header


@pytest.fixture(scope="module")
def whole_run(world_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "report"
    assert evaluate(world_bag, "--out", out, "--total-budget", "1500") == 0
    return out


class KilledError(Exception):
    """In the middle of a run."""


def killed_after(frames: int) -> Any:
    def progress(done: int) -> None:
        if done == frames:
            raise KilledError

    return progress


@pytest.mark.parametrize("snapshot_s", [0.0, 1e9])
def test_a_run_killed_half_way_resumes_to_the_same_figures(
    world_bag: Path, whole_run: Path, tmp_path: Path, snapshot_s: float
) -> None:
    """Once with a snapshot after nearly every frame, once with none: then it starts again."""
    out = tmp_path / "report"
    spec = BagSpec(world_bag.resolve())
    job = jobs_of(
        [("world", spec)], Settings(), ["diversity"], [1500], out, result_bag=True, threads=0
    )[0]
    job.begin()
    run = StreamRun(spec.open(), job.settings, load_checkpoint("tiny"), out, result_bag=True)
    with pytest.raises(KilledError):
        run.run(killed_after(7), snapshot_s=snapshot_s)
    assert (out / "snapshot.pt").exists() == (snapshot_s == 0)
    assert evaluate(world_bag, "--out", out, "--total-budget", "1500") == 0
    assert measured(out) == measured(whole_run)
    assert metrics(out)["run"]["frames_used"] == FRAMES
    for name in ("trajectory.tum", "map.ply", "map.pcd"):
        assert (out / name).read_bytes() == (whole_run / name).read_bytes()
    assert outputs(out) == outputs(whole_run)


def outputs(folder: Path) -> list[Any]:
    """What the result bag holds, but for times; bytes that only fill gaps made equal."""
    store = typestore_with("infinitevggt_ros/msg/StreamStatus")
    with BagReader(folder / "result.mcap") as reader:
        kinds = reader.topics
        return [
            (topic, at_ns, store.serialize_cdr(store.deserialize_cdr(data, kind), kind))
            for topic, at_ns, data in reader.messages()
            if not topic.endswith("/status") and (kind := kinds[topic])
        ]


def test_a_run_told_to_stop_goes_on_where_it_was(
    world_bag: Path, whole_run: Path, tmp_path: Path
) -> None:
    model, settings = load_checkpoint("tiny"), Settings()
    source = BagSource(BagSpec(world_bag))
    first = StreamRun(source, settings, model, tmp_path, result_bag=False)
    assert first.run(should_stop=lambda: first.frames_read == 5) is None
    seen: list[int] = []
    second = StreamRun(source, settings, model, tmp_path, result_bag=False)
    result = second.run(seen.append)
    assert seen == list(range(5, FRAMES + 1))
    assert result is not None
    assert result.log.figures()["frames_in"] == FRAMES


@pytest.fixture(params=["world.db3", "folder", "zstd", "world.bag"])
def other_form(request: pytest.FixtureRequest, world_bag: Path, tmp_path: Path) -> Path:
    """The same messages in another kind of bag."""
    path = tmp_path / request.param
    if request.param == "world.bag":
        as_ros1(world_bag, path)
    elif request.param == "zstd":
        options = {"dst_storage": "mcap", "compress": "zstd", "compress_mode": "message"}
        converted(world_bag, path, **options)
    else:
        rewritten(world_bag, path, {})
    return path


def converted(bag: Path, path: Path, **options: Any) -> None:
    defaults = {"dst_storage": "sqlite3", "dst_version": 9, "compress": None}
    defaults |= {"compress_mode": "file", "default_typestore": None, "typestore": None}
    lists = ("exclude_topics", "include_topics", "exclude_msgtypes", "include_msgtypes")
    convert([bag], path, **{**defaults, **dict.fromkeys(lists, ()), **options})


def as_ros1(bag: Path, path: Path) -> None:
    converted(bag, path)


def test_every_kind_of_bag_gives_the_same_figures(
    other_form: Path, whole_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    assert evaluate(other_form, "--out", out, "--total-budget", "1500") == 0
    assert measured(out) == measured(whole_run)


def camera_pose(world: World) -> Any:
    """Odometry -> the PoseStamped of the camera itself, as a motion capture would leave it."""

    def change(message: Any, types: Any) -> Any:
        index = round((message.header.stamp.sec - 1) * 10 + message.header.stamp.nanosec / 1e8)
        rotation, place = pose_of(world, index)
        point = types["geometry_msgs/msg/Point"](*place)
        quat = types["geometry_msgs/msg/Quaternion"](*rotation)
        return types["geometry_msgs/msg/PoseStamped"](
            message.header, types["geometry_msgs/msg/Pose"](point, quat)
        )

    return change


def pose_of(world: World, index: int) -> tuple[Any, Any]:
    pose = world.render([index], 14, 14).camera_from_world[0].numpy().astype(float)
    turned = pose[:, :3].T
    return Rotation.from_matrix(turned).as_quat().tolist(), (-turned @ pose[:, 3]).tolist()


def test_a_pose_topic_is_found_and_used(world_bag: Path, whole_run: Path, tmp_path: Path) -> None:
    change = camera_pose(World(SEED, "easy"))
    bag = rewritten(
        world_bag,
        tmp_path / "mocap.mcap",
        {
            "/tf": ("tf2_msgs/msg/TFMessage", None),
            ODOMETRY: ("geometry_msgs/msg/PoseStamped", change),
        },
    )
    source = BagSource(BagSpec(bag))
    assert source.chosen["truth"][0] == ODOMETRY
    truth = BagSource(BagSpec(world_bag))
    for found, true in zip(source.frames(), truth.frames(), strict=True):
        np.testing.assert_allclose(
            found.truth.camera_from_world, true.truth.camera_from_world, atol=1e-4
        )


def test_odometry_may_be_named_instead_of_tf(world_bag: Path) -> None:
    source = BagSource(BagSpec(world_bag, truth_topic=ODOMETRY))
    assert source.chosen["truth"][0] == ODOMETRY
    truth = BagSource(BagSpec(world_bag))
    for found, true in zip(source.frames(), truth.frames(), strict=True):
        np.testing.assert_allclose(
            found.truth.camera_from_world, true.truth.camera_from_world, atol=1e-4
        )


def test_what_the_node_said_itself_is_no_truth(
    world_bag: Path, whole_run: Path, tmp_path: Path
) -> None:
    recorded = tmp_path / "recorded.mcap"
    with BagWriter(recorded) as writer:
        for bag, wanted in (
            (world_bag, {IMAGE, "/camera/camera_info"}),
            (whole_run / "result.mcap", None),
        ):
            with BagReader(bag) as reader:
                for topic, kind in reader.topics.items():
                    if wanted is None or topic in wanted:
                        writer.add_topic(topic, kind)
                for topic, at_ns, data in reader.messages(list(wanted) if wanted else None):
                    writer.write(topic, at_ns, bytes(data))
    with BagReader(recorded) as reader:
        assert {"/tf", "/infinitevggt/odometry", "/infinitevggt/depth/image"} <= set(reader.topics)
        truth = BagTruth(reader, IMAGE)
    assert not truth.has_poses
    assert not truth.depth_topic


def test_a_bag_of_images_alone_has_a_report_without_errors(world_bag: Path, tmp_path: Path) -> None:
    bag = only(IMAGE, world_bag, tmp_path / "images.mcap")
    assert evaluate(bag, "--out", tmp_path / "report") == 0
    assert measured(tmp_path / "report") == dict.fromkeys(MEASURED)
    assert (tmp_path / "report/index.html").exists()


def test_bad_images_are_counted_with_their_reason(world_bag: Path, tmp_path: Path) -> None:
    def cut(message: Any, types: Any) -> Any:
        if message.header.stamp.nanosec == 300_000_000:
            message.data = message.data[:100]
        return message

    bag = rewritten(world_bag, tmp_path / "cut.mcap", {IMAGE: ("sensor_msgs/msg/Image", cut)})
    assert evaluate(bag, "--out", tmp_path / "report", "--no-result-bag") == 0
    run = metrics(tmp_path / "report")["run"]
    assert (run["frames_used"], run["frames_rejected"]) == (FRAMES - 1, 1)
    assert "truncated" in next(iter(run["rejections"]))
    assert not (tmp_path / "report/result.mcap").exists()


def test_a_sweep_has_a_row_for_each_setting(
    world_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    options = ["--out", out, "--policy", "diversity,window", "--total-budget", "700,3000"]
    assert evaluate(world_bag, *options, "--no-result-bag") == 0
    runs = metrics(out)["runs"]
    assert [run["label"] for run in runs] == ["diversity 700", "diversity 3000", "window"]
    kept = [run["run"]["tokens_kept"] for run in runs]
    assert kept[0] <= 700 < kept[1] <= 3000
    assert "needs the least memory" in capsys.readouterr().out
    page = (out / "index.html").read_text()
    assert all(run["label"] in page for run in runs)
    # again: nothing is run twice
    stamp = (out / "world-diversity-700/map.ply").stat().st_mtime_ns
    assert evaluate(world_bag, *options, "--no-result-bag") == 0
    assert (out / "world-diversity-700/map.ply").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image", "/nowhere"], "has no topic /nowhere"),
        (["--image", ODOMETRY], "not images"),
        (["--truth", DEPTH], DEPTH),
        (["--truth", ODOMETRY, "--truth-frame", "elsewhere"], "--truth-frame"),
        (["--checkpoint", "nowhere.pt"], "nowhere.pt"),
        (["--total-budget", "5"], "smallest that works is"),
        (["--device", "cuda:9"], "cuda:9"),
    ],
)
def test_mistakes_are_explained(
    world_bag: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(world_bag, "--out", tmp_path / "report", *options) == 1
    assert message in capsys.readouterr().err


def test_another_run_in_the_folder_is_not_mixed_up_with_this_one(
    world_bag: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    shutil.copytree(whole_run, out)
    assert evaluate(world_bag, "--out", out) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert evaluate(world_bag, "--out", out, "--overwrite") == 0
    assert metrics(out)["parameters"]["memory"]["total_budget"] == 600_000


def test_a_journal_forgets_what_came_after_the_snapshot(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.append(0, 5, b"kept")
        length = journal.sync()
        journal.append(0, 6, b"lost")
    store = typestore_with()
    with Journal(tmp_path / "journal", length) as journal, BagWriter(tmp_path / "x.mcap") as bag:
        bag.add_topic("/words", "std_msgs/msg/String")
        text = store.types["std_msgs/msg/String"]("new")
        journal.append(0, 7, bytes(store.serialize_cdr(text, "std_msgs/msg/String")))
        journal.copy_to(bag, ["/words"])
    with BagReader(tmp_path / "x.mcap") as reader:
        assert [(at, bytes(data)[-4:-1]) for _, at, data in reader.messages()] == [
            (5, b"kep"),
            (7, b"new"),
        ]


def test_a_bag_without_camera_images_is_refused(world_bag: Path, tmp_path: Path) -> None:
    bag = only(DEPTH, world_bag, tmp_path / "depth.mcap")
    with pytest.raises(CommandError, match="only depth images"):
        BagSource(BagSpec(bag))


def test_on_a_cluster_whole_runs_are_the_unit(
    world_bag: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster of one that, as Ray does, gets everything pickled."""
    ran: list[str] = []

    class Remote:
        def __init__(self, function: Any) -> None:
            self.function = function

        def options(self, **_: Any) -> "Remote":
            return self

        def remote(self, job: Any) -> bool:
            ran.append(job.label)
            return bool(self.function(pickle.loads(pickle.dumps(job))))

    ray = ModuleType("ray")
    vars(ray).update(init=lambda address: None, remote=Remote, get=list, cluster_resources=dict)
    monkeypatch.setitem(sys.modules, "ray", ray)
    options = ["--out", tmp_path / "r", "--policy", "diversity,window", "--total-budget", "1500"]
    assert evaluate(world_bag, *options, "--ray", "auto") == 0
    assert ran == ["diversity 1500", "window"]
    assert measured(tmp_path / "r/world-diversity-1500") == measured(whole_run)


def test_without_ray_its_extra_is_named(
    world_bag: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert evaluate(world_bag, "--out", tmp_path / "r", "--ray", "auto") == 1
    assert "infinitevggt_ros[ray]" in capsys.readouterr().err


def test_several_bags_have_a_mean(world_bag: Path, tmp_path: Path) -> None:
    other = rewritten(world_bag, tmp_path / "other.mcap", {})
    small = ["--no-result-bag", "--policy", "window"]
    assert evaluate(world_bag, other, "--out", tmp_path / "r", *small) == 0
    found = metrics(tmp_path / "r")
    assert [run["name"] for run in found["runs"]] == ["world", "other"]
    ate = [run["trajectory"]["sim3"]["ate_rmse"] for run in found["runs"]]
    assert found["means"]["window"]["ATE m"] == pytest.approx(sum(ate) / 2)


def test_the_setting_of_least_memory_among_the_good_ones_is_recommended() -> None:
    def run(name: str, ate: float, absrel: float, memory: float) -> dict[str, Any]:
        return {
            "label": name,
            "trajectory": {"sim3": {"ate_rmse": ate}},
            "depth": {"scale": {"absrel": absrel}},
            "run": {"stream_memory_mb": memory},
        }

    runs = [run("all", 0.10, 0.050, 90), run("half", 0.105, 0.054, 50), run("few", 0.2, 0.05, 9)]
    assert recommended(runs)["label"] == "half"
    # paths hardly better than none are not to be chosen from
    for useless in runs:
        useless["name"], useless["trajectory"]["ate_rmse_standing"] = "room", 0.15
    assert advice(runs) == [
        "room: no setting follows the camera; standing still would err by 0.150 m"
    ]
    runs[0]["trajectory"]["ate_rmse_standing"] = 0.25
    assert "half needs" in advice(runs)[0]
    # none is as good as the best in both: the least bad one
    assert recommended([run("a", 0.1, 0.2, 5), run("b", 0.15, 0.1, 9)])["label"] == "b"
