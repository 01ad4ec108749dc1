# SPDX-License-Identifier: Apache-2.0
"""From the camera's image to the network's and back: the released sizes and pixels, exactly."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from infinitevggt_core import PixelMap, preprocess
from support.core_samples import assert_close

DRAWN_PX = 0.05
"""Centre of mass of a drawn blob: 8-bit rounding."""
RAMP = 1e-5
"""Interpolation of a linear map in fp32, relative to its largest value."""


def noise(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def released_crop(image: Image.Image, size: int) -> NDArray[np.float32]:
    """Crop mode of docs/model.md, written a second time: (3, H, W)."""
    width, height = image.size
    new_height = 14 * round(height * (size / width) / 14)
    resized = image.convert("RGB").resize((size, new_height), Image.Resampling.BICUBIC)
    pixels = np.asarray(resized).astype(np.float32) / 255
    if new_height > size:
        top = (new_height - size) // 2
        pixels = pixels[top : top + size]
    return pixels.transpose(2, 0, 1)


def released_pad(image: Image.Image, size: int) -> NDArray[np.float32]:
    """The same for pad mode."""
    width, height = image.size
    if width >= height:
        new_width, new_height = size, 14 * round(height * (size / width) / 14)
    else:
        new_width, new_height = 14 * round(width * (size / height) / 14), size
    resized = image.convert("RGB").resize((new_width, new_height), Image.Resampling.BICUBIC)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    bottom, right = size - new_height - top, size - new_width - left
    pixels = np.asarray(resized).astype(np.float32) / 255
    padded = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), constant_values=1.0)
    return padded.transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("height", "width", "want"),
    [
        (480, 640, (392, 518)),
        (1080, 1920, (294, 518)),
        (640, 480, (518, 518)),
        (700, 100, (518, 518)),
        (300, 300, (518, 518)),
        (30, 40, (392, 518)),
    ],
)
def test_cropping_gives_the_released_sizes_and_pixels(
    height: int, width: int, want: tuple[int, int]
) -> None:
    image = noise(height, width)
    tensor, pixel_map = preprocess(image, 518)
    assert tensor.shape == (3, *want)
    assert (pixel_map.camera_size, pixel_map.model_size) == ((height, width), want)
    assert np.array_equal(tensor.numpy(), released_crop(Image.fromarray(image), 518))


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (333, 333), (90, 700)])
@pytest.mark.parametrize("size", [518, 154])
def test_padding_gives_the_released_pixels_on_white(height: int, width: int, size: int) -> None:
    image = noise(height, width)
    tensor, pixel_map = preprocess(image, size, mode="pad")
    assert tensor.shape == (3, size, size)
    assert pixel_map.model_size == (size, size)
    assert np.array_equal(tensor.numpy(), released_pad(Image.fromarray(image), size))


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    size=st.sampled_from([14, 28, 154]),
    mode=st.sampled_from(["crop", "pad"]),
)
def test_any_camera_size_gives_an_image_the_network_takes(
    height: int, width: int, size: int, mode: str
) -> None:
    released = {"crop": released_crop, "pad": released_pad}[mode]
    longest = max(height, width) if mode == "pad" else width
    shortest = min(height, width) if mode == "pad" else height
    assume(round(shortest * (size / longest) / 14) > 0)
    assume(height < 30 * width)  # a narrow strip is enlarged to thousands of rows
    image = noise(height, width)
    tensor, pixel_map = preprocess(image, size, mode=mode)
    assert tensor.dtype == torch.float32
    assert tensor.shape[1:] == pixel_map.model_size
    assert all(side % 14 == 0 for side in tensor.shape[1:])
    assert max(tensor.shape[1:]) == size or mode == "crop"
    assert 0 <= tensor.min() <= tensor.max() <= 1
    assert np.array_equal(tensor.numpy(), released(Image.fromarray(image), size))


@pytest.mark.parametrize(
    ("height", "width", "size", "want"),
    [
        (376, 1241, 518, (266, 910)),  # 255,000 px at most
        (480, 640, 518, (434, 574)),
        (280, 504, 518, (280, 504)),  # never enlarged
        (300, 300, 518, (294, 294)),
        (480, 640, 154, (126, 168)),  # a budget in proportion
    ],
)
def test_an_area_budget_keeps_the_aspect_and_never_enlarges(
    height: int, width: int, size: int, want: tuple[int, int]
) -> None:
    tensor, pixel_map = preprocess(noise(height, width), size, mode="area")
    assert tensor.shape == (3, *want)
    assert want[0] * want[1] <= 255_000 * (size / 518) ** 2
    assert pixel_map.scale == (want[1] / width, want[0] / height)
    assert pixel_map.shift == (0, 0)


def test_transparent_images_are_laid_over_white() -> None:
    image = noise(56, 70, channels=4)
    white = Image.new("RGBA", (70, 56), (255, 255, 255, 255))
    composed = Image.alpha_composite(white, Image.fromarray(image)).convert("RGB")
    assert np.array_equal(preprocess(image, 70)[0].numpy(), released_crop(composed, 70))
    invisible = np.zeros((56, 70, 4), dtype=np.uint8)
    assert (preprocess(invisible, 70)[0] == 1).all()


@pytest.mark.parametrize("shape", [(56, 70), (56, 70, 1)])
def test_grey_images_give_three_equal_channels(shape: tuple[int, ...]) -> None:
    image = noise(56, 70, channels=1)
    tensor, _ = preprocess(image.reshape(shape), 28)
    assert np.array_equal(tensor.numpy(), released_crop(Image.fromarray(image), 28))


def test_the_image_is_neither_changed_nor_shared() -> None:
    image = noise(56, 70)
    before = image.copy()
    tensor, _ = preprocess(image, 70)
    tensor.zero_()
    assert np.array_equal(image, before)


def test_views_and_read_only_images_are_taken() -> None:
    image = noise(112, 140)
    flipped = image[::-2, ::2]
    flipped.flags.writeable = False
    got, _ = preprocess(flipped, 70)
    assert np.array_equal(got.numpy(), preprocess(flipped.copy(), 70)[0].numpy())


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (np.zeros((56, 70, 3), dtype=np.float32), {}, "expected uint8 .* got float32"),
        (np.zeros((56, 70), dtype=np.uint16), {}, "expected uint8 .* got uint16"),
        (np.zeros((56, 70, 2), dtype=np.uint8), {}, r"got uint8 \(56, 70, 2\)"),
        (np.zeros((1, 56, 70, 3), dtype=np.uint8), {}, r"got uint8 \(1, 56, 70, 3\)"),
        (np.zeros(70, dtype=np.uint8), {}, r"got uint8 \(70,\)"),
        (np.zeros((0, 70, 3), dtype=np.uint8), {}, "no pixels"),
        (np.zeros((8, 640, 3), dtype=np.uint8), {}, "640x8 px is too narrow"),
        (np.zeros((640, 8, 3), dtype=np.uint8), {"mode": "pad"}, "8x640 px is too narrow"),
        (np.zeros((56, 70, 3), dtype=np.uint8), {"mode": "stretch"}, "one of crop, pad"),
        (np.zeros((56, 70, 3), dtype=np.uint8), {"size": 500}, "multiple of"),
        (np.zeros((56, 70, 3), dtype=np.uint8), {"size": 0}, "multiple of"),
    ],
)
def test_what_is_no_camera_image_is_refused(
    image: NDArray[np.uint8], options: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        preprocess(image, **{"size": 518, **options})


def to_model(pixel_map: PixelMap, u: float, v: float) -> NDArray[np.float64]:
    """Map a camera pixel by the intrinsics of a camera whose principal point it is."""
    matrix = np.array([[100.0, 0, u], [0, 100.0, v], [0, 0, 1]])
    return pixel_map.model_intrinsics(matrix)[:2, 2]


SHAPES = [(480, 640), (640, 480), (200, 160), (60, 64), (270, 480)]


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_a_point_drawn_in_the_camera_image_lands_where_the_map_says(
    height: int, width: int, mode: str
) -> None:
    u, v = width * 0.55, height * 0.47
    ys, xs = np.mgrid[0:height, 0:width]
    spread = max(height, width) / 40
    blob = 250 * np.exp(-((xs - u) ** 2 + (ys - v) ** 2) / 2 / spread**2)
    image = np.asarray(np.round(blob), dtype=np.uint8)
    tensor, pixel_map = preprocess(image, 154, mode=mode)
    weights = tensor[0].double()
    if mode == "pad":  # the padding is white
        (left, top), (rows, cols) = pixel_map.shift, pixel_map.model_size
        inside = torch.zeros(rows, cols, dtype=torch.bool)
        inside[top : rows - top - rows % 2, left : cols - left - cols % 2] = True
        weights = weights * inside * (weights < 0.99)
    rows, cols = torch.meshgrid(*(torch.arange(side) for side in weights.shape), indexing="ij")
    centre = torch.stack(((cols * weights).sum(), (rows * weights).sum())) / weights.sum()
    want = torch.from_numpy(to_model(pixel_map, u, v))
    assert_close(centre, want, DRAWN_PX, "centre of the blob (u, v)")


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_intrinsics_there_and_back_are_the_same(height: int, width: int, mode: str) -> None:
    _, pixel_map = preprocess(noise(height, width), 154, mode=mode)
    matrix = np.array([[412.0, 0.5, 301.25], [0, 409.0, 233.5], [0, 0, 1]])
    there = pixel_map.model_intrinsics(matrix)
    np.testing.assert_allclose(pixel_map.camera_intrinsics(there), matrix, rtol=1e-12)
    assert there[0, 0] == pytest.approx(412 * pixel_map.scale[0])
    assert there[1, 1] == pytest.approx(409 * pixel_map.scale[1])


def test_the_corners_of_the_image_stay_its_corners() -> None:
    _, pixel_map = preprocess(noise(480, 640), 518)
    np.testing.assert_allclose(to_model(pixel_map, -0.5, -0.5), [-0.5, -0.5], atol=1e-12)
    np.testing.assert_allclose(to_model(pixel_map, 639.5, 479.5), [517.5, 391.5], atol=1e-12)


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize(("height", "width"), [*SHAPES, (56, 154), (77, 101)])
def test_a_linear_map_comes_back_exactly(height: int, width: int, mode: str) -> None:
    """A plane in the network's image is the same plane in the camera's, borders apart."""
    _, pixel_map = preprocess(noise(height, width), 154, mode=mode)
    rows, cols = np.mgrid[0 : pixel_map.model_size[0], 0 : pixel_map.model_size[1]]
    plane = (2 + 0.03 * cols - 0.017 * rows).astype(np.float32)
    got = pixel_map.to_camera(plane)
    assert (got.shape, got.dtype) == ((height, width), np.float32)

    v, u = np.mgrid[0:height, 0:width]
    origin, along_u, along_v = (to_model(pixel_map, *at) for at in ((0, 0), (1, 0), (0, 1)))
    x = origin[0] + u * (along_u - origin)[0]
    y = origin[1] + v * (along_v - origin)[1]
    want = 2 + 0.03 * x - 0.017 * y
    (left, top), (model_rows, model_cols) = pixel_map.shift, pixel_map.model_size
    used_rows = min(model_rows - 2 * max(top, 0), model_rows)
    used_cols = model_cols - 2 * max(left, 0)
    inside = (x >= max(left, 0)) & (x <= max(left, 0) + used_cols - 1)
    inside &= (y >= max(top, 0)) & (y <= max(top, 0) + used_rows - 1)
    assert inside.mean() > 0.2
    np.testing.assert_allclose(got[inside], want[inside], atol=RAMP * np.abs(want).max())


def test_what_was_cropped_comes_back_as_nan_and_nothing_else() -> None:
    _, pixel_map = preprocess(noise(640, 480), 154)
    got = pixel_map.to_camera(np.ones(pixel_map.model_size, dtype=np.float32))
    y = np.array([to_model(pixel_map, 0, v)[1] for v in range(640)])
    seen = (y >= -0.5) & (y <= 153.5)
    assert 0 < (~seen).sum() < 320
    assert np.array_equal(np.isfinite(got), np.broadcast_to(seen[:, None], got.shape))
    assert (got[seen] == 1).all()


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_padding_never_reaches_the_camera_image(height: int, width: int) -> None:
    _, pixel_map = preprocess(noise(height, width), 154, mode="pad")
    values = np.full(pixel_map.model_size, 1000.0, dtype=np.float32)
    corner = to_model(pixel_map, -0.5, -0.5) + 0.5
    opposite = to_model(pixel_map, width - 0.5, height - 0.5) + 0.5
    (left, top), (right, bottom) = corner.round().astype(int), opposite.round().astype(int)
    values[top:bottom, left:right] = 1
    assert (pixel_map.to_camera(values) == 1).all()


def test_a_pixel_that_is_not_finite_spoils_only_its_neighbours() -> None:
    _, pixel_map = preprocess(noise(308, 308), 154)
    values = np.ones((154, 154), dtype=np.float32)
    values[50, 60] = np.nan
    spoiled = np.argwhere(np.isnan(pixel_map.to_camera(values)))
    assert 4 <= len(spoiled) <= 25
    assert np.abs(spoiled - [100.5, 120.5]).max() <= 2.5
