# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt evaluate --ray`: whole runs on a cluster."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.bag_source import BagSpec
from infinitevggt_ros.evaluation.cluster import check_answer, run_one
from infinitevggt_ros.evaluation.sweep import jobs_of
from infinitevggt_ros.params.settings import Settings
from support.bag_evaluation import POLICY, evaluate, measured


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Yield the address of a real head node with one processor."""
    pytest.importorskip("ray", reason="an extra: pip install '.[ray]'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster.address
    cluster.shutdown()


def test_a_job_is_the_same_run_in_another_process(
    world_bag: Path, whole_run: Path, tmp_path: Path
) -> None:
    """As Ray hands it over."""
    specs = [("world", BagSpec(world_bag.resolve()))]
    budgets, out = [1500], tmp_path / "r"
    job = jobs_of(specs, Settings(), [POLICY], budgets, out, result_bag=False, threads=0)[0]
    assert run_one(pickle.loads(pickle.dumps(job)))
    assert measured(out) == measured(whole_run)


@pytest.mark.timeout(600)
def test_a_sweep_on_a_cluster_has_the_figures_of_one_here(
    world_bag: Path, tmp_path: Path, address: str
) -> None:
    options = ["--total-budget", "700,1500", "--threads", "1", "--no-result-bag"]
    assert evaluate(world_bag, "--out", tmp_path / "here", *options) == 0
    assert evaluate(world_bag, "--out", tmp_path / "there", *options, "--ray", address) == 0
    for run in (f"world-{POLICY}-700", f"world-{POLICY}-1500"):
        assert measured(tmp_path / "there" / run) == measured(tmp_path / "here" / run)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--total-budget", "5"], "smallest that works is"),
        (["--threads", "2"], "--threads 2: no machine of the cluster has more than 1"),
    ],
)
def test_mistakes_on_a_cluster_are_one_line(
    world_bag: Path,
    tmp_path: Path,
    address: str,
    options: list[str],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--out", tmp_path / "r", *options, "--ray", address]
    assert evaluate(world_bag, *arguments) == 1
    said = [line for line in capfd.readouterr().err.splitlines() if "infinitevggt: " in line]
    assert len(said) == 1
    assert message in said[0]


def test_an_address_where_nothing_listens_is_said_at_once() -> None:
    with pytest.raises(CommandError, match=r"--ray 127.0.0.1:1: no cluster there \(.*refused"):
        check_answer("127.0.0.1:1")


def test_without_ray_its_extra_is_named(
    world_bag: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert evaluate(world_bag, "--out", tmp_path / "r", "--ray", "auto") == 1
    assert "infinitevggt_ros[ray]" in capsys.readouterr().err
