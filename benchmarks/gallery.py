# SPDX-License-Identifier: Apache-2.0
"""Pictures of exports for docs/gallery.md: worlds, each as COLMAP model and mesh.

The figures of benchmarks.export are printed, a line for each world. Nothing needs a display.
Example: python -m benchmarks.gallery --out docs/figures
"""

import argparse
import json
import struct
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from benchmarks.export import COLMAP, MESH, RUN, figures_of, film, stream_into
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_ros.export.run_folder import RunFolder
from infinitevggt_ros.map_axes import MAP_FROM_WORLD

SEEDS = {"easy": 10_000, "standard": 10_001, "hard": 10_002}
"""Seeds of the worlds by their levels."""
COLORS = 128
"""Colours of a picture."""
SIDE = 480
"""Width and height of a view, px."""
BACK, UP = 0.9, 0.45
"""Position of the view behind and above the first camera, in median depths."""
FOV_DEG = 60.0
FAR = 1e3
Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("docs/figures"), help="folder of the pictures")
    add("--levels", nargs="+", choices=SEEDS, default=list(SEEDS), help="levels of the worlds")
    add("--checkpoint", default="tiny")
    add("--frames", type=int, default=40, help="images of each world")
    options = parser.parse_args()
    for level in options.levels:
        sequence, world = film(level, SEEDS[level], options.frames)
        with tempfile.TemporaryDirectory() as folder:
            poses = stream_into(sequence, options.checkpoint, Path(folder) / RUN)
            figures = figures_of(Path(folder), poses, sequence, world)
            draw(options.out / f"gallery_{level}.png", sequence.images[0], Path(folder))
        print(json.dumps(figures), flush=True)


def draw(path: Path, image: NDArray[np.uint8], folder: Path) -> None:
    """Write one picture of the first image and the exports in a folder, as `figures_of` leaves
    them."""
    kept = list(RunFolder(folder / RUN).keyframes())
    keyframes = np.stack([keyframe.camera_from_map for keyframe in kept])
    points, colors = read_points(folder / COLMAP / "sparse" / "0" / "points3D.bin")
    view = view_of(keyframes[0], float(np.median([np.median(k.depth) for k in kept])))
    surface = render_mesh(folder / MESH, view)
    figure = Figure(figsize=(12, 3.7), dpi=75, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    axes[0].imshow(image)
    axes[0].set_title("first image")
    _draw_model(axes[1], view, points, colors, keyframes)
    axes[1].set_title(f"COLMAP: {len(keyframes)} images, {len(points)} points")
    axes[2].imshow(surface)
    axes[2].set_title("mesh")
    for each in axes:
        each.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    with whole_file(path) as partial:
        picture.quantize(COLORS).save(partial, "PNG", optimize=True)


def view_of(first: Floats, depth: float) -> Floats:
    """Return the pose camera_from_map (3, 4) of a view from behind and above the first camera.

    first: camera_from_map (3, 4), OpenCV axes. depth: median depth of the keyframes.
    """
    eye = first[:, :3].T @ (np.array([0.0, -UP, -BACK]) * depth - first[:, 3])
    target = first[:, :3].T @ (np.array([0.0, 0.0, 1.0]) * depth - first[:, 3])
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(first[:, :3].T @ [0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack((right, np.cross(forward, right), forward))
    return np.concatenate((rotation, -rotation @ eye[:, None]), axis=1)


def view_matrix() -> Floats:
    """Return K (3, 3) of a view, px."""
    focal = SIDE / 2 / np.tan(np.radians(FOV_DEG) / 2)
    return np.array([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1]])


def read_points(path: Path) -> tuple[Floats, NDArray[np.uint8]]:
    """Return positions (N, 3) and colours (N, 3) of points3D.bin."""
    data, places, colors, at = path.read_bytes(), [], [], 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        _, *place, red, green, blue, _, length = struct.unpack_from("<Q3d3BdQ", data, at)
        places.append(place)
        colors.append((red, green, blue))
        at += struct.calcsize("<Q3d3BdQ") + 8 * length
    return np.array(places).reshape(-1, 3), np.array(colors, np.uint8).reshape(-1, 3)


def render_mesh(path: Path, view: Floats) -> NDArray[np.uint8]:
    """Return an image (SIDE, SIDE, 3) of a mesh, by ray casting on the processor."""
    o3d: Any = import_module("open3d")
    mesh = o3d.io.read_triangle_mesh(str(path))
    mesh.transform(MAP_FROM_WORLD.T)
    colors, triangles = np.asarray(mesh.vertex_colors), np.asarray(mesh.triangles)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    pose = np.vstack([view, [0, 0, 0, 1]])
    rays = scene.create_rays_pinhole(view_matrix(), pose, SIDE, SIDE)
    hit = scene.cast_rays(rays)
    found = np.isfinite(hit["t_hit"].numpy())
    corners = colors[triangles[hit["primitive_ids"].numpy()[found]]]
    u, v = hit["primitive_uvs"].numpy()[found].T
    weights = np.stack((1 - u - v, u, v), axis=-1)
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    image[found] = np.clip(255 * np.einsum("nk,nkc->nc", weights, corners), 0, 255)
    return image


def _draw_model(
    axes: Axes,
    view: Floats,
    points: Floats,
    colors: NDArray[np.uint8],
    keyframes: Floats,
) -> None:
    """Draw points and the cameras' positions as the view sees them."""
    pixels, seen = _project(points, view)
    order = np.argsort(-(points @ view[2, :3] + view[2, 3])[seen])
    axes.scatter(*pixels[order].T, c=colors[seen][order] / 255, s=4, linewidths=0)
    centers, _ = _project(camera_centers(keyframes), view)
    axes.plot(*centers.T, "-", color="crimson", linewidth=1, marker=".", markersize=4)
    axes.set(xlim=(0, SIDE), ylim=(SIDE, 0), aspect="equal")


def _project(points: Floats, view: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the pixels (M, 2) of the points (N, 3) before the view, and which these are (N,)."""
    placed = points @ view[:, :3].T + view[:, 3]
    seen = (placed[:, 2] > 0) & (placed[:, 2] < FAR)
    pixels = cv2.convertPointsFromHomogeneous(placed[seen] @ view_matrix().T)[:, 0]
    return np.asarray(pixels, np.float64), np.asarray(seen)


if __name__ == "__main__":
    main()
