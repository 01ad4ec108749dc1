# SPDX-License-Identifier: Apache-2.0
"""Errors of a point cloud against a surface: accuracy, completion, normal consistency.

The protocol is that of published reconstruction tables (NRGBD, 7-Scenes): Umeyama alignment of
corresponding pixels, then ICP; means and medians of nearest distances in both directions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from infinitevggt_core.evaluation.similarity import Array, Similarity

ICP_REACH_M = 0.1
"""Maximum distance of ICP partners, as in the published evaluations."""
ICP_VOXEL_M = 0.02
"""Voxel size for ICP."""
NEIGHBORS = 20
"""Number of neighbours for the estimation of a normal."""


@dataclass(frozen=True, slots=True)
class CloudErrors:
    """Lengths are in units of the surface (metres)."""

    acc: float
    """Accuracy: mean distance of the cloud's points from the surface."""
    acc_median: float
    comp: float
    """Completion: mean distance of the surface's points from the cloud."""
    comp_median: float
    nc: float
    """Normal consistency: mean |cosine| between normals of nearest points, in both directions."""
    chamfer: float
    """Mean of accuracy and completion."""


def align(cloud: Array, partners: Array, surface: Array) -> Array:
    """Return the cloud (N, 3) aligned to its partners (N, 3) on the surface (M, 3), refined by
    ICP."""
    return refine(Similarity.of(cloud, partners)(cloud), surface)


def refine(placed: Array, surface: Array) -> Array:
    """Return a cloud (N, 3) near the surface (M, 3), aligned to it by ICP."""
    import small_gicp

    found = small_gicp.align(
        surface,
        placed,
        registration_type="ICP",
        max_correspondence_distance=ICP_REACH_M,
        downsampling_resolution=ICP_VOXEL_M,
    )
    motion = found.T_target_source
    return np.asarray(placed @ motion[:3, :3].T + motion[:3, 3])


def cloud_errors(cloud: Array, surface: Array, normals: Array) -> CloudErrors:
    """Return the errors of an aligned cloud (N, 3) against points and unit normals (M, 3) of a
    surface."""
    tree, surface_tree = cKDTree(cloud), cKDTree(surface)
    acc, nearest_surface = surface_tree.query(cloud)
    comp, nearest_point = tree.query(surface)
    found = estimate_normals(cloud)
    agree = np.abs((found * normals[nearest_surface]).sum(1)).mean()
    agree_back = np.abs((found[nearest_point] * normals).sum(1)).mean()
    return CloudErrors(
        acc=float(acc.mean()),
        acc_median=float(np.median(acc)),
        comp=float(comp.mean()),
        comp_median=float(np.median(comp)),
        nc=float(agree + agree_back) / 2,
        chamfer=float(acc.mean() + comp.mean()) / 2,
    )


def estimate_normals(points: Array) -> Array:
    """Return unit normals (N, 3) of either sign, estimated from the nearest points."""
    import small_gicp

    cloud = small_gicp.PointCloud(points)
    small_gicp.estimate_normals(cloud, num_neighbors=NEIGHBORS)
    return np.asarray(cloud.normals())[:, :3]
