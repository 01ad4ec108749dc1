# SPDX-License-Identifier: Apache-2.0
"""Make files for other tools from a run of `infinitevggt run SOURCE --out RUN`.

RUN may also be a state that a node has saved (`~/save_state`): it holds the map and the poses of
the keyframes, for --pcd and --tum. Poses are those after the last loop closure. Lengths are in the
unit of the stream, or metres where a node knew the scale.
"""

import argparse
import shutil
from pathlib import Path

from infinitevggt_core.io.tum import CORRECTED
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.export.formats import FORMATS, write_format
from infinitevggt_ros.export.run_folder import RunFolder
from infinitevggt_ros.live.saved_state import SavedState

EXAMPLE = "infinitevggt export walk --colmap walk_colmap --mesh room.ply"
COPIED = {"tum": CORRECTED, "pcd": "map.pcd"}


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="folder of a run, or a saved state")
    add("--tum", type=Path, metavar="FILE", help="trajectory as TUM RGB-D and evo read it")
    add("--pcd", type=Path, metavar="FILE", help="fused map as PCL and Open3D read it")
    add("--colmap", type=Path, metavar="DIR", help="COLMAP model (text and binary) with images")
    add("--nerfstudio", type=Path, metavar="DIR", help="transforms.json with images")
    add("--mesh", type=Path, metavar="FILE", help="coloured mesh, .ply or .obj; needs Open3D")
    add("--voxel", type=float, default=0.0, metavar="X", help="voxel of the mesh; 0: by the depth")


def run(options: argparse.Namespace) -> int:
    asked = [n for n in (*COPIED, *FORMATS) if getattr(options, n)]
    if not asked:
        raise CommandError("name what to export: --tum, --pcd, --colmap, --nerfstudio or --mesh")
    if not options.voxel >= 0:
        raise CommandError("--voxel must not be below 0")
    if options.folder.is_file():
        state = SavedState(options.folder)
        for name in asked:
            print(_export_state(state, name, getattr(options, name)))
        return 0
    folder = RunFolder(options.folder)
    for name in asked:
        print(_export(folder, name, options))
    return 0


def _export_state(state: SavedState, name: str, out: Path) -> str:
    if name not in COPIED:
        raise CommandError(f"--{name} needs the folder of a run: a state has no images")
    out.parent.mkdir(parents=True, exist_ok=True)
    if name == "tum":
        return f"{out}: {state.write_trajectory(out)} keyframes"
    return f"{out}: {state.write_map(out)} points"


def _export(folder: RunFolder, name: str, options: argparse.Namespace) -> str:
    out: Path = getattr(options, name)
    if name in COPIED:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder.path / COPIED[name], out)
        return f"{out}: {COPIED[name]}"
    return f"{out}: {write_format(folder, name, out, options.voxel)}"
