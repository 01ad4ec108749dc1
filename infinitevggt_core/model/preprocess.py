# SPDX-License-Identifier: Apache-2.0
"""Conversion of camera images to network images and back (docs/model.md, Inputs and tokens)."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

MODES = ("crop", "pad", "area")
AREA = 255_000
"""Most pixels of an image in mode "area", for a network of width AREA_SIZE."""
AREA_SIZE = 518


@dataclass(frozen=True, slots=True)
class PixelMap:
    """Map of pixels (u, v) of the camera's image to the network's image: scale, then shift.

    A pixel's centre has integer coordinates, as in sensor_msgs/CameraInfo.
    """

    camera_size: tuple[int, int]
    """Height, width of the camera's image, px."""
    model_size: tuple[int, int]
    """Height, width of the network's image, px."""
    scale: tuple[float, float]
    """Network pixels per camera pixel, (u, v)."""
    shift: tuple[int, int]
    """Network pixels (u, v) added after scaling: negative if cropped, positive if padded."""

    def _matrix(self) -> NDArray[np.float64]:
        """Return the 3 x 3 matrix from camera pixels to network pixels."""
        (su, sv), (du, dv) = self.scale, self.shift
        return np.array(
            [[su, 0, 0.5 * su - 0.5 + du], [0, sv, 0.5 * sv - 0.5 + dv], [0, 0, 1]],
            dtype=np.float64,
        )

    def model_intrinsics(self, camera_matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert K (3 x 3) of the camera's image to K of the network's image."""
        return self._matrix() @ camera_matrix

    def camera_intrinsics(self, model_matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert K (3 x 3) of the network's image to K of the camera's image."""
        return np.linalg.inv(self._matrix()) @ model_matrix

    def to_camera(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample a map (H, W) of the network's image to the camera's resolution, bilinearly.

        A pixel is NaN if one of its four neighbours is not finite, or if it was cropped.
        """
        (height, width), (su, sv), (left, top) = self.camera_size, self.scale, self.shift
        rows, cols = round(height * sv), round(width * su)  # before cropping and padding
        first_row, first_col = max(top, 0), max(left, 0)
        seen = values[first_row : first_row + rows, first_col : first_col + cols]
        above, before = max(-top, 0), max(-left, 0)
        below, after = rows - above - seen.shape[0], cols - before - seen.shape[1]
        # the edge is replicated into the cropped part, so that interpolation at it stays valid
        whole = cv2.copyMakeBorder(seen, above, below, before, after, cv2.BORDER_REPLICATE)
        resized = cv2.resize(whole, (width, height), interpolation=cv2.INTER_LINEAR)
        camera = np.asarray(resized, dtype=np.float32)
        camera[_outside(height, sv, above, rows - below)] = np.nan
        camera[:, _outside(width, su, before, cols - after)] = np.nan
        return camera

    def to_model(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale and crop a map (H, W) of the camera's view, of any resolution, to the network's
        image, by nearest neighbours: depths must not be mixed."""
        (rows, cols), (height, width) = self.camera_size, self.model_size
        row = (np.arange(height) - self.shift[1] + 0.5) / self.scale[1] * values.shape[0] / rows
        col = (np.arange(width) - self.shift[0] + 0.5) / self.scale[0] * values.shape[1] / cols
        row = row.astype(int).clip(0, values.shape[0] - 1)
        col = col.astype(int).clip(0, values.shape[1] - 1)
        return np.ascontiguousarray(values[row[:, None], col])


def _outside(pixels: int, scale: float, first: int, stop: int) -> NDArray[np.bool_]:
    """Return True for camera pixels of a side outside pixels first..stop-1 of the resized image."""
    place = (np.arange(pixels) + 0.5) * scale - 0.5
    return np.asarray((place < first - 0.5) | (place > stop - 0.5))


def preprocess(
    image: NDArray[np.uint8], size: int, patch_size: int = 14, mode: str = "crop"
) -> tuple[Tensor, PixelMap]:
    """Convert an 8-bit image to float [3, H, W] in [0, 1] of the network's size, and return the map
    between their pixels. `VGGT.preprocess` takes the size from the network.

    image: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, which is laid over white. size: width of
    the result, a multiple of patch_size. mode: "crop" (width `size`, height cut to it from the
    middle), "pad" (longer side `size`, white added to a square), or "area" (aspect kept, never
    enlarged, at most 255,000 pixels for size 518 and in proportion to size^2 for others). Raises
    ValueError for another image or size.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")
    if size < patch_size or size % patch_size:
        raise ValueError(f"size must be a multiple of {patch_size}; got {size}")
    rgb = _as_rgb(image)
    height, width = rgb.shape[:2]
    new_height, new_width = _resized(height, width, size, patch_size, mode)
    if min(new_height, new_width) < patch_size:
        raise ValueError(f"an image of {width}x{height} px is too narrow for the network")
    resized = Image.fromarray(rgb).resize((new_width, new_height), Image.Resampling.BICUBIC)
    pixels = np.asarray(resized, dtype=np.float32) / np.float32(255)
    shift = (0, 0)
    if mode == "pad":
        left, top = (size - new_width) // 2, (size - new_height) // 2
        square = np.ones((size, size, 3), dtype=np.float32)
        square[top : top + new_height, left : left + new_width] = pixels
        pixels, shift = square, (left, top)
    elif mode == "crop" and new_height > size:
        top = (new_height - size) // 2
        pixels, shift = pixels[top : top + size], (0, -top)
    pixel_map = PixelMap(
        camera_size=(height, width),
        model_size=(pixels.shape[0], pixels.shape[1]),
        scale=(new_width / width, new_height / height),
        shift=shift,
    )
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), pixel_map


def _resized(height: int, width: int, size: int, patch_size: int, mode: str) -> tuple[int, int]:
    """Return height and width before cropping or padding, in the released order of operations."""
    if mode == "area":
        return _within_area(height, width, size, patch_size)
    if mode == "crop" or width >= height:
        return round(height * (size / width) / patch_size) * patch_size, size
    return size, round(width * (size / height) / patch_size) * patch_size


def _within_area(height: int, width: int, size: int, patch_size: int) -> tuple[int, int]:
    """Return the largest height and width, multiples of the patch, within the area budget."""
    area = AREA * (size / AREA_SIZE) ** 2
    scale = min(1.0, (area / (height * width)) ** 0.5)
    rows, cols = (int(scale * side / patch_size + 1e-9) for side in (height, width))
    return rows * patch_size, cols * patch_size


def _as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ValueError(
            f"expected uint8 (H, W), (H, W, 3) or (H, W, 4); got {image.dtype} {image.shape}"
        )
    if min(image.shape[:2]) == 0:
        raise ValueError(f"the image has no pixels: {image.shape}")
    if channels == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    if channels == 4:
        rgba = Image.fromarray(image)
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return image
