# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs_py.point_cloud2: the genuine one or the stand-in in ros_shims/."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

HEADER = Header(frame_id="map")


def field(name: str, offset: int, datatype: int = PointField.FLOAT32, count: int = 1) -> PointField:
    return PointField(name=name, offset=offset, datatype=datatype, count=count)


XYZ = [field("x", 0), field("y", 4), field("z", 8)]
XYZ_RING = [*XYZ, field("ring", 12, PointField.UINT16)]
floats = arrays("float32", st.tuples(st.integers(0, 20), st.just(3)))


def points_with_a_ring() -> np.ndarray:
    points = np.zeros(2, point_cloud2.dtype_from_fields(XYZ_RING, 16))
    points["x"], points["z"], points["ring"] = [1, 2], [5, 6], [7, 8]
    return points


@settings(max_examples=60, deadline=None)
@given(points=floats)
def test_points_survive_the_way_into_a_cloud_and_back_bit_by_bit(points: np.ndarray) -> None:
    cloud = point_cloud2.create_cloud_xyz32(HEADER, points)
    assert (cloud.height, cloud.width, cloud.point_step) == (1, len(points), 12)
    assert cloud.row_step == len(cloud.data) == 12 * len(points)
    assert point_cloud2.read_points_numpy(cloud).tobytes() == points.tobytes()


def test_the_bytes_of_a_cloud_are_those_its_fields_describe() -> None:
    cloud = point_cloud2.create_cloud_xyz32(HEADER, [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)])
    assert bytes(cloud.data) == struct.pack("<6f", 1, 2, 3, 4, 5, 6)
    assert cloud.header.frame_id == "map"
    described = [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields]
    assert described == [("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1)]
    assert not cloud.is_bigendian
    assert not cloud.is_dense


def test_doubles_are_cast_to_the_datatype_of_the_fields() -> None:
    cloud = point_cloud2.create_cloud(HEADER, XYZ, np.array([[0.1, 0.2, 0.3]]))
    expected = np.array([[0.1, 0.2, 0.3]], np.float32)
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud), expected)


@pytest.mark.parametrize("points", [np.zeros((0, 3), np.float32), np.zeros((0, 3)), []])
def test_no_points_make_an_empty_cloud(points: object) -> None:
    cloud = point_cloud2.create_cloud_xyz32(HEADER, points)
    assert (cloud.height, cloud.width, len(cloud.data)) == (1, 0, 0)
    assert len(point_cloud2.read_points(cloud)) == 0


def test_an_image_of_points_becomes_a_cloud_as_wide_as_the_image_is_high() -> None:
    points = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
    cloud = point_cloud2.create_cloud_xyz32(HEADER, points)
    assert (cloud.width, cloud.height, cloud.row_step) == (2, 5, 24)
    assert bytes(cloud.data) == points.tobytes()
    organized = point_cloud2.read_points(cloud, reshape_organized_cloud=True)
    np.testing.assert_array_equal(organized["y"], points[..., 1])


def test_fields_of_several_types_take_a_structured_array_with_padding() -> None:
    points = points_with_a_ring()
    cloud = point_cloud2.create_cloud(HEADER, XYZ_RING, points, point_step=16)
    assert (cloud.point_step, cloud.row_step) == (16, 32)
    assert bytes(cloud.data) == struct.pack("<3fH2x3fH2x", 1, 0, 5, 7, 2, 0, 6, 8)
    np.testing.assert_array_equal(point_cloud2.read_points(cloud)["ring"], [7, 8])


def test_colour_bits_in_a_float_survive() -> None:
    bits = np.array([0x00FF8001, 0x7FC00001], np.uint32)  # the second one is a NaN
    fields = [field("rgb", 0)]
    cloud = point_cloud2.create_cloud(HEADER, fields, bits.view(np.float32)[:, None])
    back = point_cloud2.read_points(cloud)["rgb"]
    np.testing.assert_array_equal(np.ascontiguousarray(back).view(np.uint32), bits)


def test_fields_and_points_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, XYZ_RING, np.zeros((2, 4), np.float32))
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, XYZ, points_with_a_ring())
    with pytest.raises(ValueError, match="number of fields"):
        point_cloud2.create_cloud(HEADER, XYZ, np.zeros((2, 4), np.float32))
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud_xyz32(HEADER, np.zeros((2, 2, 2, 3), np.float32))


def test_every_second_structured_point_must_be_copied_first() -> None:
    points = np.zeros(4, point_cloud2.dtype_from_fields(XYZ))
    with pytest.raises(TypeError):
        point_cloud2.create_cloud(HEADER, XYZ, points[::2])
    cloud = point_cloud2.create_cloud(HEADER, XYZ, np.ascontiguousarray(points[::2]))
    assert cloud.width == 2


def test_chosen_fields_come_in_the_order_asked_for() -> None:
    cloud = point_cloud2.create_cloud(HEADER, XYZ_RING, points_with_a_ring(), point_step=16)
    assert point_cloud2.read_points_numpy(cloud, ["z", "x"]).tolist() == [[5, 1], [6, 2]]
    assert point_cloud2.read_points(cloud, ["ring"]).dtype.names == ("ring",)
    with pytest.raises(AssertionError):
        point_cloud2.read_points_numpy(cloud, ["x", "ring"])
    with pytest.raises(AssertionError):
        point_cloud2.read_points(cloud, ["intensity"])


def test_points_with_a_nan_are_skipped_unless_the_cloud_says_it_is_dense() -> None:
    points = np.array([[1, 2, 3], [4, np.nan, 6], [7, 8, 9]], np.float32)
    cloud = point_cloud2.create_cloud_xyz32(HEADER, points)
    kept = point_cloud2.read_points_numpy(cloud, skip_nans=True)
    assert kept.tolist() == [[1, 2, 3], [7, 8, 9]]
    assert len(point_cloud2.read_points(cloud, ["x"], skip_nans=True)) == 3
    cloud.is_dense = True
    assert len(point_cloud2.read_points(cloud, skip_nans=True)) == 3


def test_points_can_be_chosen_by_their_index() -> None:
    cloud = point_cloud2.create_cloud_xyz32(HEADER, np.eye(3, dtype=np.float32))
    assert point_cloud2.read_points_numpy(cloud, uvs=[2, 0]).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_big_endian_points_keep_their_values() -> None:
    cloud = PointCloud2(height=1, width=1, fields=XYZ, point_step=12, row_step=12)
    cloud.is_bigendian = True
    cloud.data.frombytes(struct.pack(">3f", 1, 2, 3))
    assert point_cloud2.read_points_numpy(cloud).tolist() == [[1, 2, 3]]


def test_a_field_of_several_values_becomes_numbered_columns() -> None:
    fields = [field("", 0, PointField.UINT8), field("v", 4, PointField.INT16, count=2)]
    dtype = point_cloud2.dtype_from_fields(fields, point_step=12)
    assert dtype.names == ("unnamed_field_0", "v_0", "v_1")
    assert [dtype.fields[name][1] for name in dtype.names] == [0, 4, 6]
    assert dtype.itemsize == 12
    with pytest.raises(AssertionError):
        point_cloud2.dtype_from_fields([field("x", 0), field("x", 4)])
    with pytest.raises(AssertionError):
        point_cloud2.dtype_from_fields([field("x", 0, count=0)])


def test_something_that_is_no_cloud_is_refused() -> None:
    with pytest.raises(AssertionError):
        point_cloud2.read_points(Header())
