"""From a camera's frame to the vision tower's input: the one place that training, probing and inference share.

Two steps, so that what travels is uint8: `resize` runs where frames are read (it is what packed frames hold),
`Preprocessing.__call__` runs on the device (scaling, mean and standard deviation). A checkpoint carries its
`Preprocessing`, since a model trained on images in [0, 1] does not see the same world as one trained with CLIP's mean.
Imports nothing of the package.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
NO_MEAN, NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
PreprocessingName = Literal["clip", "unit"]  # bicubic with CLIP's mean and standard deviation; bilinear, left in [0, 1]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How frames become pixel values.

    size           side of the square that the vision tower takes, in pixels; frames are squashed, not cropped
    interpolation  of the resize, always antialiased
    mean, std      per channel, in units of [0, 1]
    """

    size: int = 224
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self):
        if self.size < 1 or min(self.std) <= 0:
            raise ValueError(f"preprocessing: size and std must be positive, got size={self.size}, std={self.std}")

    @classmethod
    def named(cls, name: "PreprocessingName", size: int) -> "Preprocessing":
        """By the word that `model.preprocessing` takes."""
        if name == "unit":
            return cls(size=size, interpolation="bilinear", mean=NO_MEAN, std=NO_STD)
        return cls(size=size)

    def resize(self, frames: UInt8[Tensor, "N height width 3"]) -> UInt8[Tensor, "N size size 3"]:
        """Squash to `size` x `size`, still uint8 (within one grey level of Pillow's antialiased resize)."""
        if frames.shape[1:3] == (self.size, self.size):
            return frames
        channels_first = frames.permute(0, 3, 1, 2)  # a view: the kernel is fastest on channels-last memory
        small = F.interpolate(
            channels_first,
            (self.size, self.size),
            mode=self.interpolation,
            antialias=True,
            align_corners=False,
        )
        return small.permute(0, 2, 3, 1).contiguous()

    def __call__(self, frames: UInt8[Tensor, "N size size 3"]) -> Float[Tensor, "N 3 size size"]:
        """Scale to [0, 1], subtract the mean, divide by the standard deviation; float32, on the frames' device."""
        # Row by row: with the three channels as the innermost dimension it would take three times as long on a CPU.
        rows = frames.flatten(2).float()  # (N, size, size x 3)
        there, columns = frames.device, frames.shape[2]
        mean, std = (255 * _make_there(values, there).repeat(columns) for values in (self.mean, self.std))
        return rows.sub_(mean).div_(std).view(frames.shape).permute(0, 3, 1, 2)


def _make_there(values: tuple[float, ...], device: torch.device) -> Float[Tensor, " n"]:
    """Made on the device: to send them there, a GPU would be waited for, and no CUDA graph can hold that."""
    return torch.stack([torch.full((), value, device=device) for value in values])
