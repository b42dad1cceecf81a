"""Arrays and tensors in memory as uint8 RGB images, or a one-line error that says what is ambiguous.

Shape, range and layout differ from library to library. A wrong guess still gives an image, with wrong predictions, so
ambiguous arrays are refused.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError, ImageError

ColorOrder = Literal["rgb", "bgr"]

_CHANNELS = (1, 3, 4)
_DARKEST = 8  # a float image from 0 to 255 whose brightest value is below this shows nothing


@runtime_checkable
class Tensor(Protocol):
    """What is needed of a PyTorch tensor; torch itself is not imported."""

    def detach(self) -> Any:
        """The values without their history."""

    def cpu(self) -> Any:
        """The values in main memory."""

    def numpy(self) -> Any:
        """The values as an array."""


def check_color(color: str) -> None:
    """Raises ArgumentError for another order than those of `ColorOrder`."""
    if color not in get_args(ColorOrder):
        raise ArgumentError(f"color is '{color}'; expected 'rgb' or 'bgr' (OpenCV)")


def tensor_array(tensor: Tensor, source: str) -> NDArray[Any]:
    """A tensor (H, W), (C, H, W), (H, W, C), (N, C, H, W) or (N, H, W, C), C = 1, 3 or 4, with its channels last.

    The axis with 1, 3 or 4 entries is that of the channels. source: its name in errors.
    Raises ImageError where both may be, or neither.
    """
    plain = tensor.detach().cpu()
    try:
        array = np.asarray(plain.numpy())
    except TypeError:  # bfloat16, which NumPy does not have
        array = np.asarray(plain.float().numpy())
    if array.ndim not in (3, 4):
        return array
    shape = array.shape
    first, last = shape[-3] in _CHANNELS, shape[-1] in _CHANNELS
    if first and last:
        raise ImageError(
            f"{source}: is a tensor of shape {shape}, whose channels may be first or last; give it as a NumPy array "
            "with the channels last: tensor.movedim(-3, -1).numpy(), or tensor.numpy() where they are last"
        )
    return np.moveaxis(array, -3, -1) if first else array


def split_batch(array: NDArray[Any], source: str) -> list[NDArray[np.uint8]]:
    """The images of an array (N, H, W, C), C = 1, 3 or 4, each uint8 of 0 to 255 (H, W, C).

    Range and type are read from the whole batch, so that a dark image keeps its meaning among bright ones. Raises
    ImageError as `rgb_array`.
    """
    if array.ndim != 4 or array.shape[-1] not in _CHANNELS:
        raise ImageError(_wrong_shape(array.shape, source))
    return list(_bytes(array, source))


def rgb_array(array: NDArray[Any], source: str, *, color: ColorOrder = "rgb") -> NDArray[np.uint8]:
    """One image in memory as uint8 (H, W, 3), RGB, contiguous.

    array: (H, W) or (H, W, 1) grey, (H, W, 3), or (H, W, 4) with alpha, which is laid on white. Integers of any
    type are 0 to 255; floats are 0 to 1, or 0 to 255 if the largest is above 1. color: the order of three or four
    channels. source: its name in errors.

    Raises ImageError, in one line, for other shapes and types, NaN, values out of range, and where the range
    is ambiguous.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in _CHANNELS or array.size == 0:
        raise ImageError(_wrong_shape(array.shape, source))
    pixels = _bytes(array, source)
    if pixels.shape[2] == 1:
        return pixels.repeat(3, axis=2)
    if color == "bgr":
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.uint16)
        blended = (pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
        opaque: NDArray[np.uint8] = blended.astype(np.uint8)
        return opaque
    return np.ascontiguousarray(pixels)


def _bytes(array: NDArray[Any], source: str) -> NDArray[np.uint8]:
    """Values of 0 to 255 as uint8. Raises ImageError."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf" or array.size == 0:
        raise ImageError(f"{source}: has dtype {array.dtype}; expected uint8, or numbers of 0 to 255 or 0 to 1")
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{source}: has NaN or infinite values; expected numbers of 0 to 255 or 0 to 1")
    if low < 0:
        raise ImageError(f"{source}: has values from {low:.4g}; expected 0 to 255 or 0 to 1 (undo the normalisation)")
    if high > 255:
        advice = "divide by 257 for 16 bits" if array.dtype == np.uint16 else "scale it"
        raise ImageError(f"{source}: has values up to {high:.6g}; expected 0 to 255 or 0 to 1 ({advice})")
    if array.dtype.kind != "f":
        return array.astype(np.uint8)
    if 1 < high < _DARKEST:
        raise ImageError(
            f"{source}: its largest value is {high:.4g}; the range may be 0 to 1 or 0 to 255; "
            "clip it to 0 to 1, or give uint8"
        )
    if high == 1 and bool(((array == 0) | (array == 1)).all()):
        raise ImageError(f"{source}: has floats of 0 and 1 alone, which may be of 0 to 1 or 0 to 255; give uint8")
    scale = np.float32(255 if high <= 1 else 1)
    whole: NDArray[np.uint8] = np.rint(array.astype(np.float32) * scale).astype(np.uint8)
    return whole


def _wrong_shape(shape: tuple[int, ...], source: str) -> str:
    hint = ""
    if len(shape) in (3, 4) and shape[-3] in _CHANNELS and shape[-1] not in _CHANNELS:
        axes = "(1, 2, 0)" if len(shape) == 3 else "(0, 2, 3, 1)"
        hint = f"; where its channels are first, give array.transpose{axes}"
    return (
        f"{source}: has shape {shape}; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
        f"several as a list or (N, H, W, C){hint}"
    )
