# SPDX-License-Identifier: Apache-2.0
"""Export of streams into a new folder, which appears when it is complete."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from infinitevggt_core.io.tum import CORRECTED
from infinitevggt_ros.export.formats import FORMATS, write_format
from infinitevggt_ros.export.run_folder import FEWEST_KEYFRAMES, RunFolder, RunWriter
from infinitevggt_ros.stream.export import write_map, write_trajectories, write_trajectory
from infinitevggt_ros.stream.keyframe_pictures import KeyframeRun
from infinitevggt_ros.stream.stream import Stream

FILES = {"tum": "trajectory.tum", "ply": "map.ply", "pcd": "map.pcd", "mesh": "mesh.ply"}
"""Names of the formats that are one file; the others are folders of their own name."""
RUN = "run"
"""Format that `infinitevggt export` reads."""
PLAIN = ("tum", "ply", "pcd")
"""Formats that need no pictures."""
ALL = (*PLAIN, RUN, *FORMATS)


class StreamExport:
    """One export: `take` each stream in the worker's thread, then `finish` in any thread."""

    def __init__(self, folder: Path, formats: Sequence[str]) -> None:
        """folder: does not exist. Raises ValueError for unknown formats, and OSError."""
        self._formats = list(dict.fromkeys(formats))
        unknown = [name for name in self._formats if name not in ALL]
        if unknown or not self._formats:
            what = f"{', '.join(unknown)}: unknown" if unknown else "name formats"
            raise ValueError(f"{what}; there are {', '.join(ALL)}")
        self._folder = folder
        self._partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        self._partial.mkdir()
        self._runs: list[tuple[Stream, KeyframeRun]] = []

    def take(self, stream: Stream) -> str:
        """Write trajectory and map, and copy the keyframes. Raises ValueError and OSError."""
        stream.follow_corrections()
        for name in self._formats:
            if name == "tum":
                write_trajectories(stream, self._partial / FILES[name])
            elif name in PLAIN:
                write_map(stream, self._path(stream, name))
        if not set(self._formats) <= set(PLAIN):
            run = stream.keyframe_run()
            if len(run.keyframes) < FEWEST_KEYFRAMES:
                raise ValueError(
                    f"{len(run.keyframes)} keyframes with pictures so far and this export needs "
                    f"{FEWEST_KEYFRAMES}: the camera must move more"
                )
            self._begin_run(stream)
            self._runs.append((stream, run))
        return f"{', '.join(self._formats)} in {self._folder}"

    def finish(self) -> list[Path]:
        """Write the formats of the keyframes; return the paths of everything.

        Raises CommandError, such as of a package that is missing, and OSError.
        """
        for stream, run in self._runs:
            folder = self._path(stream, RUN)
            run.write(RunWriter(folder))
            for name in FORMATS:
                if name in self._formats:
                    write_format(RunFolder(folder), name, self._path(stream, name))
            if RUN not in self._formats:
                shutil.rmtree(folder)
        self._partial.rename(self._folder)
        return sorted(self._folder.iterdir())

    def abandon(self) -> None:
        """Remove what was written, if the export is not complete."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def _begin_run(self, stream: Stream) -> None:
        folder = self._path(stream, RUN)
        folder.mkdir()
        tracked = next(iter(stream.trajectories))
        write_trajectory(stream, tracked, folder / CORRECTED)
        for name in ("ply", "pcd"):
            write_map(stream, folder / FILES[name])

    def _path(self, stream: Stream, name: str) -> Path:
        return stream.path_for_stream(self._partial / FILES.get(name, name))
