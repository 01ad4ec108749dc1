# SPDX-License-Identifier: Apache-2.0
"""Distribution of whole runs over an existing Ray cluster.

Its machines need this package, and must see the bags and the folder of the report under the same
paths.
"""

import socket
import subprocess
import sys
from types import ModuleType
from typing import Any

from tqdm import tqdm

from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.sweep import Job
from infinitevggt_ros.interrupt import Interrupt

CONNECT_S, ANSWER_S = 5.0, 30.0
"""Time limits for a head node to accept a connection, and to answer as Ray does."""
POLL_S = 0.5
SAVE_S = 30.0
"""Time for stopped runs to write their snapshots."""
PROBE = "import sys, ray; ray.init(sys.argv[1], logging_level='ERROR')"


def run_on_ray(jobs: list[Job], address: str) -> bool:
    """Run all jobs; return False if the user interrupted it. Progress is kept, as by `run_here`."""
    ray, interrupt = connected(address), Interrupt()
    waiting: list[Any] = []
    try:
        run = ray.remote(run_one).options(**needs(ray, jobs))
        waiting = [run.remote(job) for job in jobs]
        with interrupt.caught(), tqdm(total=len(jobs), unit="run", disable=None) as bar:
            while waiting and not interrupt.is_set():
                finished, waiting = ray.wait(waiting, timeout=POLL_S)
                if not all(result(ray, reference) for reference in finished):
                    return False
                bar.update(len(finished))
        return not waiting
    finally:
        for reference in waiting:
            ray.cancel(reference)  # as Ctrl-C would
        if waiting:
            ray.wait(waiting, num_returns=len(waiting), timeout=SAVE_S)
        ray.shutdown()


def run_one(job: Job) -> bool:
    """Run one job on a machine of the cluster."""
    interrupt = Interrupt()
    with interrupt.caught():
        return job.run(interrupt=interrupt)


def result(ray: ModuleType, reference: Any) -> bool:
    """Return the result of a finished run. Raises CommandError if it failed."""
    try:
        return bool(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, CommandError):
            raise CommandError(str(error.cause)) from error
        raise CommandError(f"a run failed on the cluster: {error}") from error
    except ray.exceptions.RayError as error:
        raise CommandError(
            f"a run was lost on the cluster, and again when retried: {error}"
        ) from error


def needs(ray: ModuleType, jobs: list[Job]) -> dict[str, float]:
    """Return the resources of one run: its threads, and a GPU if the cluster has one."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    threads = max(1, *(job.threads for job in jobs))
    most = max((machine.get("CPU", 0) for machine in machines), default=0)
    if threads > most:  # Ray would wait for such a machine forever
        raise CommandError(f"--threads {threads}: no machine of the cluster has more than {most:g}")
    on_gpu = any(job.settings.model.device != "cpu" for job in jobs)
    has_gpu = any(machine.get("GPU", 0) for machine in machines)
    return {"num_cpus": threads, "num_gpus": int(on_gpu and has_gpu)}


def connected(address: str) -> ModuleType:
    """Return Ray, connected to the cluster. Raises CommandError."""
    try:
        import ray
    except ImportError as error:
        raise CommandError("--ray needs Ray: pip install 'infinitevggt_ros[ray]'") from error
    check_answer(address)
    ray.init(address, logging_level="ERROR")
    return ray


def check_answer(address: str) -> None:
    """Check from a subprocess that a cluster answers. Raises CommandError.

    If nothing answers, a connection attempt by Ray itself takes minutes and cannot be interrupted.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdecimal():
            socket.create_connection((host, int(port)), CONNECT_S).close()
        command = [sys.executable, "-c", PROBE, address]
        probe = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, OverflowError, subprocess.TimeoutExpired) as error:
        reason = "no answer" if isinstance(error, subprocess.TimeoutExpired) else str(error)
    else:
        reason = probe.stderr.strip().rpartition("\n")[2] if probe.returncode else ""
    if reason:
        raise CommandError(
            f"--ray {address}: no cluster there ({reason}); name the address that "
            "`ray start --head` printed"
        )
