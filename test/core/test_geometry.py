# SPDX-License-Identifier: Apache-2.0
"""Poses are rotations and translations, encodings come back, and pixels go where they should."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from infinitevggt_core import Prediction
from infinitevggt_core.model.geometry import (
    camera_from_world,
    encode_pose,
    intrinsics_from_encoding,
    invert,
    quaternion_from_rotation,
    rotation_from_quaternion,
    unproject,
    world_points,
)
from support.core_samples import assert_close

ROUNDING = 1e-9
"""fp64, lengths of order ten."""
SINGLE = 1e-5
"""fp32."""

UNIT = st.floats(-1, 1, allow_nan=False)
BATCHES = st.sampled_from([(), (1,), (3,), (2, 3)])


@st.composite
def quaternions(draw: st.DrawFn) -> Tensor:
    """(..., 4) of any length but near zero."""
    shape = draw(BATCHES)
    count = math.prod(shape)
    rows = []
    for _ in range(count):
        row = torch.tensor([draw(UNIT) for _ in range(4)], dtype=torch.float64)
        assume(row.norm() > 0.05)
        rows.append(row * draw(st.floats(0.1, 20)))
    return torch.stack(rows).view(*shape, 4)


@st.composite
def encodings(draw: st.DrawFn) -> Tensor:
    """(..., 9) pose encodings with unit quaternions and ordinary fields of view."""
    quaternion = draw(quaternions())
    quaternion = torch.nn.functional.normalize(quaternion, dim=-1)
    flat = quaternion.view(-1, 4)
    translation = torch.tensor(
        [[draw(st.floats(-10, 10)) for _ in range(3)] for _ in flat], dtype=torch.float64
    )
    fields = torch.tensor(
        [[draw(st.floats(0.2, 2.5)) for _ in range(2)] for _ in flat], dtype=torch.float64
    )
    return torch.cat((translation, flat, fields), dim=-1).view(*quaternion.shape[:-1], 9)


@given(quaternions())
def test_rotations_keep_lengths_and_hands(quaternion: Tensor) -> None:
    rotation = rotation_from_quaternion(quaternion)
    assert rotation.shape == (*quaternion.shape[:-1], 3, 3)
    eye = torch.eye(3, dtype=torch.float64).expand(rotation.shape)
    assert_close(rotation @ rotation.transpose(-1, -2), eye, ROUNDING)
    assert_close(torch.linalg.det(rotation), torch.ones(rotation.shape[:-2]), ROUNDING)


@given(quaternions(), st.floats(0.1, 10))
def test_the_length_and_sign_of_a_quaternion_do_not_matter(
    quaternion: Tensor, factor: float
) -> None:
    want = rotation_from_quaternion(quaternion)
    assert_close(rotation_from_quaternion(-factor * quaternion), want, ROUNDING)


@given(quaternions())
def test_quaternions_come_back(quaternion: Tensor) -> None:
    back = quaternion_from_rotation(rotation_from_quaternion(quaternion))
    assert (back[..., 3] >= 0).all()
    unit = torch.nn.functional.normalize(quaternion, dim=-1)
    assert_close((back * unit).sum(-1).abs(), torch.ones(unit.shape[:-1]), ROUNDING)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("angle", [0.0, 1e-7, math.pi / 2, math.pi - 1e-7, math.pi])
def test_half_turns_and_no_turns_come_back(axis: int, angle: float) -> None:
    quaternion = torch.zeros(4, dtype=torch.float64)
    quaternion[axis], quaternion[3] = math.sin(angle / 2), math.cos(angle / 2)
    rotation = rotation_from_quaternion(quaternion)
    back = rotation_from_quaternion(quaternion_from_rotation(rotation))
    assert_close(back, rotation, ROUNDING)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    rotation = rotation_from_quaternion(torch.tensor([0, 0, math.sqrt(0.5), math.sqrt(0.5)]))
    assert_close(rotation @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), SINGLE)


@given(encodings(), st.integers(1, 600), st.integers(1, 600))
def test_pose_encodings_come_back(encoding: Tensor, height: int, width: int) -> None:
    transform = camera_from_world(encoding)
    intrinsics = intrinsics_from_encoding(encoding, height, width)
    back = encode_pose(transform, intrinsics, height, width)
    assert_close(camera_from_world(back), transform, ROUNDING)
    assert_close(back[..., :3], encoding[..., :3], ROUNDING)
    assert_close(back[..., 7:], encoding[..., 7:], ROUNDING)
    flipped = torch.where(encoding[..., 6:7] < 0, -1.0, 1.0)
    clear = encoding[..., 6].abs() > 1e-6  # a half turn has two quaternions
    assert_close(back[..., 3:7][clear], (encoding[..., 3:7] * flipped)[clear], 1e-6)


@given(encodings())
def test_the_inverse_of_a_pose_undoes_it(encoding: Tensor) -> None:
    transform = camera_from_world(encoding)
    inverse = invert(transform)
    points = torch.randn(*encoding.shape[:-1], 3, 1, dtype=torch.float64)
    moved = transform[..., :3] @ points + transform[..., 3:]
    assert_close(inverse[..., :3] @ moved + inverse[..., 3:], points, ROUNDING)
    assert_close(invert(inverse), transform, ROUNDING)


@given(encodings(), st.integers(2, 5), st.integers(2, 5))
def test_world_points_project_back_to_their_pixels(
    encoding: Tensor, height: int, width: int
) -> None:
    transform = camera_from_world(encoding)
    intrinsics = intrinsics_from_encoding(encoding, height, width)
    depth = 1 + 4 * torch.rand(*encoding.shape[:-1], height, width, dtype=torch.float64)
    points = world_points(depth, transform, intrinsics)
    assert points.shape == (*depth.shape, 3)
    camera = torch.einsum("...ij,...hwj->...hwi", transform[..., :3], points)
    camera = camera + transform[..., None, None, :, 3]
    assert_close(camera[..., 2], depth, ROUNDING)
    pixels = torch.einsum("...ij,...hwj->...hwi", intrinsics, camera)
    pixels = pixels[..., :2] / pixels[..., 2:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    assert_close(pixels, torch.stack((u, v), dim=-1).double().expand(pixels.shape), 1e-7)


def test_intrinsics_by_hand() -> None:
    """A vertical field of view of 90 degrees: the focal length is half the height."""
    encoding = torch.tensor([0, 0, 0, 0, 0, 0, 1, math.pi / 2, 2 * math.atan(0.5)])
    want = torch.tensor([[80.0, 0, 40], [0, 30, 30], [0, 0, 1]])
    assert_close(intrinsics_from_encoding(encoding, height=60, width=80), want, 1e-4)


def test_no_field_of_view_is_an_infinite_focal_length() -> None:
    matrix = intrinsics_from_encoding(torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 0, 0]), 10, 20)
    assert matrix[0, 0].isinf()
    assert matrix[1, 1].isinf()


def test_unprojection_by_hand() -> None:
    """Pixel (0, 0) is the centre of the first pixel, although the principal point is at W / 2."""
    intrinsics = torch.tensor([[2.0, 0, 1], [0, 4.0, 1], [0, 0, 1]])
    points = unproject(torch.tensor([[1.0, 2.0], [4.0, 8.0]]), intrinsics)
    want = torch.tensor([[[-0.5, -0.25, 1], [0, -0.5, 2]], [[-2, 0, 4], [0, 0, 8]]])
    assert torch.equal(points, want)


def test_world_points_by_hand() -> None:
    """A camera one step right of the origin that looks along +x of the world."""
    rotation = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    centre = torch.tensor([0.0, -1, 0])
    transform = torch.cat((rotation, -(rotation @ centre)[:, None]), dim=1)
    intrinsics = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1]])
    points = world_points(torch.tensor([[3.0, 3.0]]), transform, intrinsics)
    assert_close(points, torch.tensor([[[3.0, -1, 0], [3, -4, 0]]]), SINGLE)


def test_predictions_derive_poses_intrinsics_and_points() -> None:
    encoding = torch.tensor([[0.5, -1, 2, 0.1, 0.2, 0.3, 0.9, 1.0, 1.2]]).repeat(2, 1)
    depth = 1 + torch.rand(2, 4, 6)
    prediction = Prediction(encoding, depth, torch.ones(2, 4, 6))
    assert prediction.camera_from_world.shape == (2, 3, 4)
    assert torch.equal(prediction.intrinsics, intrinsics_from_encoding(encoding, 4, 6))
    want = world_points(depth, prediction.camera_from_world, prediction.intrinsics)
    assert torch.equal(prediction.world_points(), want)
    given_matrix = torch.tensor([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]])
    want = world_points(depth, prediction.camera_from_world, given_matrix)
    assert torch.equal(prediction.world_points(given_matrix), want)
    with pytest.raises(AttributeError):
        prediction.depth = depth


def test_clips_derive_what_frames_do() -> None:
    encoding = torch.rand(2, 3, 9) + 0.1
    depth = 1 + torch.rand(2, 3, 4, 6)
    clip = Prediction(encoding, depth, depth)
    for batch in range(2):
        for frame in range(3):
            at = (batch, frame)
            one = Prediction(encoding[at][None], depth[at][None], depth[at][None])
            assert_close(clip.world_points()[at], one.world_points()[0], SINGLE)
