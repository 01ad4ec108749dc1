# SPDX-License-Identifier: Apache-2.0
"""Stand-in for sensor_msgs_py.point_cloud2, only what infinitevggt_ros calls."""

import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

DTYPES = {
    PointField.INT8: "int8",
    PointField.UINT8: "uint8",
    PointField.INT16: "int16",
    PointField.UINT16: "uint16",
    PointField.INT32: "int32",
    PointField.UINT32: "uint32",
    PointField.FLOAT32: "float32",
    PointField.FLOAT64: "float64",
}


def require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)  # what callers of the genuine package get


def dtype_from_fields(
    fields: Iterable[PointField], point_step: int | None = None
) -> np.dtype[np.void]:
    """Structured dtype of one point; a field of count n > 1 becomes name_0 to name_(n-1)."""
    names: list[str] = []
    formats: list[str] = []
    offsets: list[int] = []
    for index, field in enumerate(fields):
        require(field.count > 0, "fields with count = 0 cannot be processed")
        name = field.name or f"unnamed_field_{index}"
        dtype = np.dtype(DTYPES[field.datatype])
        for part in range(field.count):
            names.append(name if field.count == 1 else f"{name}_{part}")
            formats.append(dtype.str)
            offsets.append(field.offset + part * dtype.itemsize)
    require(len(set(names)) == len(names), "duplicate field names are not allowed")
    layout: dict[str, Any] = {"names": names, "formats": formats, "offsets": offsets}
    if point_step is not None:
        layout["itemsize"] = point_step
    return np.dtype(layout)


def create_cloud(
    header: Header,
    fields: Sequence[PointField],
    points: npt.NDArray[Any] | Iterable[Iterable[Any]],
    point_step: int | None = None,
) -> PointCloud2:
    """Cloud of points (N, fields), or structured (N,), or tuples (slow); is_dense is False.

    An array with one more axis makes an organized cloud whose width is the first axis: transpose
    an image first, or flatten it. AssertionError where fields and points do not fit.
    """
    records = as_records(fields, points, dtype_from_fields(fields, point_step))
    require(records.ndim <= 2, "a cloud is organized in at most two dimensions")
    data = array("B")
    data.frombytes(memoryview(records).cast("B"))
    width = records.shape[0]
    cloud = PointCloud2(
        header=header,
        height=records.shape[1] if records.ndim == 2 else 1,
        width=width,
        fields=fields,
        is_bigendian=sys.byteorder == "big",
        point_step=records.dtype.itemsize,
        row_step=records.dtype.itemsize * width,
        is_dense=False,
    )
    cloud.data = data
    return cloud


def as_records(
    fields: Sequence[PointField],
    points: npt.NDArray[Any] | Iterable[Iterable[Any]],
    dtype: np.dtype[np.void],
) -> npt.NDArray[np.void]:
    """Structured array of `dtype`, of one axis less where `points` is a plain array."""
    if not isinstance(points, np.ndarray):
        return np.array([tuple(point) for point in points], dtype)
    if points.dtype.names is None:
        same = len({field.datatype for field in fields}) == 1
        require(same, "an unstructured array needs fields of one datatype")
        return unstructured_to_structured(points, dtype)
    require(points.dtype == dtype, f"the points are {points.dtype}, the fields {dtype}")
    return points


def create_cloud_xyz32(
    header: Header, points: npt.NDArray[Any] | Iterable[Iterable[float]]
) -> PointCloud2:
    """Cloud of points (N, 3) in metres, with the float32 fields x, y and z."""
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate("xyz")
    ]
    return create_cloud(header, fields, points)


def read_points(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> npt.NDArray[np.void]:
    """Structured array (N,) of the fields, a view of the data where it can be.

    skip_nans drops points with a NaN in a chosen field unless the cloud says it is dense; `uvs`
    are indices of points; an organized cloud can become (width, height).
    """
    require(isinstance(cloud, PointCloud2), "the cloud is not a sensor_msgs.msg.PointCloud2")
    dtype = dtype_from_fields(cloud.fields, cloud.point_step)
    sent = dtype.newbyteorder(">" if cloud.is_bigendian else "<")
    points: npt.NDArray[np.void] = np.ndarray(
        (cloud.width * cloud.height,), sent, buffer=cloud.data
    )
    points = points.astype(dtype, copy=False)
    if field_names is not None:
        require(set(field_names) <= set(dtype.names or ()), "a requested field is not in the cloud")
        points = points[list(field_names)]
    if skip_nans and not cloud.is_dense:
        columns = [np.isnan(points[name]) for name in points.dtype.names or ()]
        points = points[~np.logical_or.reduce(columns)]
    if uvs is not None:
        points = points[uvs if isinstance(uvs, np.ndarray) else np.fromiter(uvs, int)]
    if reshape_organized_cloud and cloud.height > 1:
        points = points.reshape(cloud.width, cloud.height)
    return points


def read_points_numpy(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> npt.NDArray[Any]:
    """Plain array (N, fields); AssertionError unless the chosen fields share one datatype."""
    chosen = {
        field.datatype for field in cloud.fields if field_names is None or field.name in field_names
    }
    require(len(chosen) <= 1, "the fields differ in datatype: use read_points")
    return structured_to_unstructured(
        read_points(cloud, field_names, skip_nans, uvs, reshape_organized_cloud)
    )
