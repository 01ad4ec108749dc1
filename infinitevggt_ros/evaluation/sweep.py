# SPDX-License-Identifier: Apache-2.0
"""Sweep of several sources over several settings: whole runs, one after the other."""

import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.frames import Source
from infinitevggt_ros.evaluation.report import write_files
from infinitevggt_ros.evaluation.run_files import METRICS
from infinitevggt_ros.evaluation.stream_run import StreamRun
from infinitevggt_ros.interrupt import Interrupt
from infinitevggt_ros.params.settings import ModelSettings, Settings
from infinitevggt_ros.processor import thread_count

JOB = "job.json"
WITHOUT_BUDGET = ("window", "full")
"""Policies that ignore total_budget."""


class SourceSpec(Protocol):
    """Description of a source, small and picklable, from which another machine opens it."""

    def open(self) -> Source: ...


@dataclass(frozen=True, slots=True)
class Job:
    """One run: a source, settings, and the folder of its files."""

    source: SourceSpec
    settings: Settings
    out: Path
    result_bag: bool
    threads: int = 0
    """Number of processor threads; 0: all cores but one."""

    @property
    def label(self) -> str:
        """Short name of the setting."""
        memory = self.settings.memory
        if memory.policy in WITHOUT_BUDGET:
            return memory.policy
        return f"{memory.policy} {memory.total_budget}"

    @property
    def identity(self) -> dict[str, Any]:
        """Values that must equal those of a snapshot or of a finished run to continue from it."""
        text = json.dumps(
            {"source": repr(self.source), "settings": asdict(self.settings), "bag": self.result_bag}
        )
        identity: dict[str, Any] = json.loads(text)
        return identity

    def is_done(self) -> bool:
        """Return True if the folder holds this run, finished. Raises CommandError if it holds
        another one."""
        try:
            before = json.loads((self.out / JOB).read_text())
        except FileNotFoundError:
            return False
        if before != self.identity:
            raise CommandError(
                f"{self.out} holds a run with other settings or of another source: choose another "
                "--out, or add --overwrite"
            )
        return (self.out / METRICS).exists()

    def begin(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        with whole_file(self.out / JOB) as partial:
            partial.write_text(json.dumps(self.identity, indent=1))

    def run(self, source: Source | None = None, interrupt: Interrupt | None = None) -> bool:
        """Run the job; return False if it was interrupted. Progress is kept."""
        import torch
        from tqdm import tqdm

        torch.set_num_threads(thread_count(self.threads))
        if self.is_done():
            return True
        self.begin()
        source = source or self.source.open()
        model = loaded(self.settings.model)
        work = StreamRun(
            source,
            self.settings,
            model,
            self.out,
            result_bag=self.result_bag,
            warn=lambda text: tqdm.write(f"warning: {text}"),
        )
        title = f"{source.name}, {self.label}"
        with tqdm(total=source.frame_count, unit="frame", desc=title, disable=None) as bar:

            def progress(done: int) -> None:
                if bar.n == 0 < done - 1:
                    bar.initial = done  # the rate is that of this process
                bar.update(done - bar.n)

            result = work.run(progress, interrupt.is_set if interrupt else lambda: False)
        if result is None:
            return False
        write_files(result, source, self.settings, self.out)
        work.remove_snapshot()
        return True


@lru_cache(maxsize=1)
def loaded(settings: ModelSettings) -> VGGT:
    """Return the network, loaded once for all runs that use it. Raises CommandError."""
    from infinitevggt_ros.params.model_loading import load_model

    try:
        return load_model(settings)
    except ValueError as error:
        raise CommandError(str(error)) from error


def jobs_of(
    specs: list[tuple[str, SourceSpec]],
    settings: Settings,
    policies: list[str],
    budgets: list[int],
    out: Path,
    *,
    result_bag: bool,
    threads: int,
) -> list[Job]:
    """Return one job for each source and setting. A single job writes to `out` itself.

    specs: names and sources.
    """
    jobs = []
    for name, spec in specs:
        for policy in policies:
            for budget in budgets[:1] if policy in WITHOUT_BUDGET else budgets:
                try:
                    memory = replace(settings.memory, policy=policy, total_budget=budget)
                except ValueError as error:
                    raise CommandError(str(error)) from error
                job = Job(spec, replace(settings, memory=memory), out, result_bag, threads)
                jobs.append(replace(job, out=out / f"{name}-{job.label.replace(' ', '-')}"))
    return [replace(jobs[0], out=out)] if len(jobs) == 1 else jobs


def run_here(jobs: list[Job], sources: dict[SourceSpec, Source]) -> bool:
    """Run the jobs one after the other; return False if the user interrupted them.

    sources: sources that are already open.
    """
    interrupt = Interrupt()
    with interrupt.caught():
        return all(job.run(sources.get(job.source), interrupt) for job in jobs)
