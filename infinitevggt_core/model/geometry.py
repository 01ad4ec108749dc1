# SPDX-License-Identifier: Apache-2.0
"""Pose encodings, intrinsics and unprojection, in OpenCV camera axes (docs/model.md, Camera
head)."""

import torch
from torch import Tensor


def rotation_from_quaternion(quat_xyzw: Tensor) -> Tensor:
    """Convert (..., 4) quaternions, scalar last, of any length but zero, to (..., 3, 3)."""
    i, j, k, r = quat_xyzw.unbind(-1)
    s = 2 / quat_xyzw.square().sum(-1)
    rows = (
        (1 - s * (j * j + k * k), s * (i * j - k * r), s * (i * k + j * r)),
        (s * (i * j + k * r), 1 - s * (i * i + k * k), s * (j * k - i * r)),
        (s * (i * k - j * r), s * (j * k + i * r), 1 - s * (i * i + j * j)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def quaternion_from_rotation(rotation: Tensor) -> Tensor:
    """Convert (..., 3, 3) to unit quaternions (..., 4), scalar last and not negative."""
    m = rotation.flatten(-2).unbind(-1)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = m
    lengths = torch.stack(
        (1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22), -1
    )
    lengths = lengths.clamp(min=0).sqrt()  # (r, i, j, k)
    r, i, j, k = lengths.square().unbind(-1)
    candidates = torch.stack(
        (
            torch.stack((r, m21 - m12, m02 - m20, m10 - m01), -1),
            torch.stack((m21 - m12, i, m10 + m01, m02 + m20), -1),
            torch.stack((m02 - m20, m10 + m01, j, m21 + m12), -1),
            torch.stack((m10 - m01, m02 + m20, m21 + m12, k), -1),
        ),
        dim=-2,
    ) / (2 * lengths[..., None].clamp(min=0.1))
    best = lengths.argmax(-1)[..., None, None].expand(*lengths.shape[:-1], 1, 4)
    quat_rijk = candidates.gather(-2, best).squeeze(-2)
    quat_xyzw = quat_rijk.roll(-1, dims=-1)
    return torch.where(quat_xyzw[..., 3:] < 0, -quat_xyzw, quat_xyzw)


def camera_from_world(pose_encoding: Tensor) -> Tensor:
    """Convert (..., 9) pose encodings to (..., 3, 4) transforms of world to camera points."""
    rotation = rotation_from_quaternion(pose_encoding[..., 3:7])
    return torch.cat((rotation, pose_encoding[..., :3, None]), dim=-1)


def invert_pose_encoding(pose_encoding: Tensor) -> Tensor:
    """Encode the inverse transforms: (..., 9) world_from_camera -> (..., 9) camera_from_world.

    The quaternions of the result are unit quaternions; the fields of view stay.
    """
    rotation = rotation_from_quaternion(pose_encoding[..., 3:7])
    translation = -(rotation.transpose(-1, -2) @ pose_encoding[..., :3, None])[..., 0]
    vector, scalar = pose_encoding[..., 3:6], pose_encoding[..., 6:7]
    quaternion = torch.cat((-vector, scalar), dim=-1)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    return torch.cat((translation, quaternion, pose_encoding[..., 7:]), dim=-1)


def intrinsics_from_encoding(pose_encoding: Tensor, height: int, width: int) -> Tensor:
    """Convert (..., 9) to (..., 3, 3) pinhole matrices in px; a field of view of 0 gives inf."""
    fov_vertical, fov_horizontal = pose_encoding[..., 7], pose_encoding[..., 8]
    matrix = pose_encoding.new_zeros(*pose_encoding.shape[:-1], 3, 3)
    matrix[..., 0, 0] = width / 2 / (fov_horizontal / 2).tan()
    matrix[..., 1, 1] = height / 2 / (fov_vertical / 2).tan()
    matrix[..., 0, 2] = width / 2
    matrix[..., 1, 2] = height / 2
    matrix[..., 2, 2] = 1
    return matrix


def encode_pose(transform: Tensor, intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Encode camera_from_world (..., 3, 4) and intrinsics (..., 3, 3) as (..., 9)."""
    fov_vertical = 2 * (height / 2 / intrinsics[..., 1, 1]).atan()
    fov_horizontal = 2 * (width / 2 / intrinsics[..., 0, 0]).atan()
    return torch.cat(
        (
            transform[..., 3],
            quaternion_from_rotation(transform[..., :3]),
            fov_vertical[..., None],
            fov_horizontal[..., None],
        ),
        dim=-1,
    )


def angle_deg(rotation: Tensor) -> Tensor:
    """Return the angles (...) of rotations (..., 3, 3), degrees."""
    # atan2 and not acos: exact for small angles too
    difference = rotation - rotation.transpose(-1, -2)
    sine = torch.stack(
        (difference[..., 2, 1], difference[..., 0, 2], difference[..., 1, 0]), dim=-1
    ).norm(dim=-1)
    cosine = rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    return torch.atan2(sine, cosine).rad2deg()


def invert(transform: Tensor) -> Tensor:
    """Return the inverses of rigid transforms (..., 3, 4)."""
    rotation = transform[..., :3].transpose(-1, -2)
    return torch.cat((rotation, -rotation @ transform[..., 3:]), dim=-1)


def unproject(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Convert depth (..., H, W) along the optical axis to camera points (..., H, W, 3).

    Pixel (0, 0) is the centre of the first pixel, as in the released code.
    """
    height, width = depth.shape[-2:]
    v, u = torch.meshgrid(
        torch.arange(height, device=depth.device, dtype=depth.dtype),
        torch.arange(width, device=depth.device, dtype=depth.dtype),
        indexing="ij",
    )
    matrix = intrinsics[..., None, None, :, :]
    x = (u - matrix[..., 0, 2]) * depth / matrix[..., 0, 0]
    y = (v - matrix[..., 1, 2]) * depth / matrix[..., 1, 1]
    return torch.stack((x, y, depth), dim=-1)


def world_points(depth: Tensor, transform: Tensor, intrinsics: Tensor) -> Tensor:
    """Unproject depth (..., H, W) by camera_from_world (..., 3, 4) and K (..., 3, 3) to points
    (..., H, W, 3) in the world."""
    camera = unproject(depth, intrinsics) - transform[..., None, None, :, 3]
    # R^T x written as x R, point by point
    return torch.einsum("...hwi,...ij->...hwj", camera, transform[..., :3])
