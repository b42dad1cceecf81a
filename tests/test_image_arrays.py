"""Arrays and tensors as images: shapes, layouts and ranges that are told, and those that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.errors import ImageError
from mien.image_arrays import rgb_array, split_batch, tensor_array

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


class FakeTensor:
    """What is needed of a tensor."""

    def __init__(self, array: NDArray[np.generic]) -> None:
        self.array = array

    def detach(self) -> FakeTensor:
        return self

    def cpu(self) -> FakeTensor:
        return self

    def numpy(self) -> NDArray[np.generic]:
        return self.array


@pytest.mark.parametrize(
    "same",
    [
        IMAGE, IMAGE.astype(np.int64), IMAGE.astype(np.uint16), IMAGE.astype(np.float64), IMAGE / 255,
        (IMAGE / 255).astype(np.float16), (IMAGE / 255).astype(np.float32), IMAGE.astype(np.float32),
        np.dstack([IMAGE, np.full((20, 30), 255, np.uint8)]), np.asfortranarray(IMAGE),
    ],
)  # fmt: skip
def test_an_image_is_the_same_in_every_type_and_range(same: NDArray[np.generic]) -> None:
    found = rgb_array(same, "a")
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.abs(found.astype(int) - IMAGE).max() <= (1 if same.dtype == np.float16 else 0)


def test_grey_becomes_three_channels_and_alpha_lies_on_white() -> None:
    assert (rgb_array(IMAGE[..., 0], "a") == IMAGE[..., :1]).all()
    assert (rgb_array(IMAGE[..., :1], "a") == IMAGE[..., :1]).all()
    assert (rgb_array(np.zeros((2, 2, 4)), "a") == 255).all()


def test_opencvs_order_is_turned() -> None:
    assert (rgb_array(IMAGE[..., ::-1], "a", color="bgr") == IMAGE).all()
    opaque = np.full((20, 30, 1), 255, np.uint8)
    assert (rgb_array(np.dstack([IMAGE[..., ::-1], opaque]), "a", color="bgr") == IMAGE).all()
    assert (rgb_array(IMAGE[..., :1], "a", color="bgr") == IMAGE[..., :1]).all()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.full((4, 4, 3), np.inf), "infinite"),
        (IMAGE / 127.5 - 1, "undo the normalisation"),
        (IMAGE.astype(int) - 1, "values from -1"),
        (IMAGE.astype(np.uint16) * 257, "divide by 257"),
        (IMAGE * 2.0, "values up to 510"),
        (IMAGE / 200, "may be 0 to 1 or 0 to 255"),
        ((IMAGE > 128).astype(np.float32), "0 and 1 alone"),
        (IMAGE > 128, "dtype bool"),
        (IMAGE.astype(complex), "dtype complex128"),
        (IMAGE.astype(str), "dtype <U"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros(9, np.uint8), "shape"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(array: NDArray[np.generic], reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        rgb_array(array, "frame 7")
    assert str(caught.value).startswith("frame 7: ")
    assert "\n" not in str(caught.value)


def test_channels_first_are_named_where_an_array_has_them() -> None:
    with pytest.raises(ImageError, match=r"transpose\(1, 2, 0\)"):
        rgb_array(np.moveaxis(IMAGE, -1, 0), "a")
    with pytest.raises(ImageError, match=r"transpose\(0, 2, 3, 1\)"):
        split_batch(np.moveaxis(IMAGE, -1, 0)[None], "a")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tensor_has_its_channels_first_or_last(channels: int) -> None:
    image = np.zeros((20, 30, channels), np.uint8)
    for tensor in (image, np.moveaxis(image, -1, 0)):
        assert tensor_array(FakeTensor(tensor), "a").shape == (20, 30, channels)
        assert tensor_array(FakeTensor(tensor[None]), "a").shape == (1, 20, 30, channels)
    assert tensor_array(FakeTensor(image[..., 0]), "a").shape == (20, 30)


@pytest.mark.parametrize("shape", [(3, 20, 3), (1, 30, 4), (2, 3, 20, 3)])
def test_a_tensor_whose_channels_may_be_first_or_last_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="first or last"):
        tensor_array(FakeTensor(np.zeros(shape)), "a")


def test_a_batch_has_one_range() -> None:
    dark, bright = np.full((4, 4, 3), 1.0), np.full((4, 4, 3), 200.0)
    assert [int(image.max()) for image in split_batch(np.stack([dark, bright]), "a")] == [1, 200]


def test_torch_tensors_of_every_type_are_read() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(IMAGE.copy()).permute(2, 0, 1)
    assert (rgb_array(tensor_array(tensor, "a"), "a") == IMAGE).all()
    half = (tensor.float() / 255).requires_grad_().bfloat16()
    assert np.abs(rgb_array(tensor_array(half, "a"), "a").astype(int) - IMAGE).max() <= 1
