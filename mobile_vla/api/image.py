"""A camera's picture, as notebooks and robots hold it, becomes the frame that a policy takes, or is refused.

In: one RGB image as a numpy array, a torch tensor or a PIL image. Out: uint8, height x width x 3. What could be
misread (a batch, grey, four channels, floats beyond 1) is an error. That red and blue are swapped cannot be seen.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mobile_vla.core.errors import UserError

EXPECTED = "expected one RGB image, uint8 or a float in 0..1, of shape (height, width, 3) or (3, height, width)"


def read_image(image: Any) -> UInt8[Tensor, "height width 3"]:
    """On the CPU. Floats are multiplied by 255 and rounded. `UserError` for what is no such image."""
    if not any(hasattr(image, name) for name in ("__array__", "__array_interface__")):  # Pillow has the second alone
        raise UserError(f"frame: {EXPECTED}, got {type(image).__name__}")
    pixels = image.detach().cpu() if isinstance(image, Tensor) else _from_numpy(np.asarray(image))
    return _to_uint8(_channels_last(pixels)).contiguous()


def _from_numpy(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise UserError(f"frame: {EXPECTED}, got dtype {array.dtype}")
    return torch.from_numpy(np.array(array))  # a copy: torch takes no negative strides, and warns of read-only memory


def _channels_last(pixels: Tensor) -> Tensor:
    shape = tuple(pixels.shape)
    if pixels.ndim == 4:
        raise UserError(f"frame: {EXPECTED}, got a batch {shape}; give one frame at a time")
    if pixels.ndim != 3 or 0 in shape or 3 not in (shape[0], shape[2]):
        raise UserError(f"frame: {EXPECTED}, got shape {shape}")
    if shape[0] == shape[2]:
        raise UserError(f"frame: shape {shape} may have its channels first or last; give an image of another size")
    return pixels if shape[2] == 3 else pixels.permute(1, 2, 0)


def _to_uint8(pixels: Tensor) -> Tensor:
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.is_floating_point():
        raise UserError(f"frame: {EXPECTED}, got {str(pixels.dtype).removeprefix('torch.')}; convert it to uint8")
    low, high = pixels.min().item(), pixels.max().item()
    if not (low >= 0 and high <= 1):  # also for NaN
        raise UserError(f"frame: {EXPECTED}, got floats from {low:g} to {high:g}; convert them to uint8 or to 0..1")
    return (pixels.float() * 255).round().to(torch.uint8)
