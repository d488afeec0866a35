"""What training changes in the frames that it shows: colour jitter and a random crop, on the device, in training only.

In: uint8 frames and the episode of each. Out: other uint8 frames of the same size; the given ones stay as they are.
`Preprocessing` comes behind it, and neither it nor the policy knows of it.

All frames of an episode in a batch are changed alike: windows share frames, a window is one camera's view over time,
and a head that reads differences between frames must not see them move by chance. The draw is a function of (seed,
epoch, batch, episode) alone: a resumed run draws what it would have drawn, and no two processes have to agree.

There is no mirroring: it would make left of right in the image, but not in the action and the instruction.
Imports nothing of the package.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from mobile_vla.core.errors import UserError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's and torchvision's grey images

Images = Float[Tensor, "N 3 height width"]  # in [0, 1]


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """How far each may go; 0 is off. The order is that of the list.

    crop        a square whose side is shorter by up to this share, anywhere in the frame, resized back
    brightness  factor of all values, from 1 - brightness to 1 + brightness
    contrast    factor of the distances from the frame's mean grey;  saturation  of those from each pixel's grey
    hue         turn of the colour circle, in either direction; 0.5 is half of it
    """

    crop: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"must lie in [0, 1], got {getattr(self, name)}", argument=name)
        if not 0 <= self.crop < 1:
            raise UserError(f"must lie in [0, 1), got {self.crop}", argument="crop")
        if not 0 <= self.hue <= 0.5:
            raise UserError(f"must lie in [0, 0.5], got {self.hue}", argument="hue")

    @property
    def is_on(self) -> bool:
        """Whether frames are changed at all: what is computed of them before is then of no use."""
        return max(self.crop, self.brightness, self.contrast, self.saturation, self.hue) > 0


class Draw(NamedTuple):
    """What is done to the frames of one episode. left, top: of the crop, in sides of the frame, as `side` is."""

    side: float
    left: float
    top: float
    brightness: float
    contrast: float
    saturation: float
    hue: float


def draw(config: AugmentationConfig, place: tuple[int, ...], episode: str) -> Draw:
    """Of `place` and episode alone, on every machine (`Random` hashes text by SHA-512).

    Every number is drawn whatever is on, so that switching one off leaves the others as they are. The whole frame,
    which validation shows, is among the crops.
    """
    random = Random(repr((place, episode)))
    side = 1 - config.crop * random.random()
    return Draw(
        side=side,
        left=(1 - side) * random.random(),
        top=(1 - side) * random.random(),
        brightness=1 + config.brightness * random.uniform(-1, 1),
        contrast=1 + config.contrast * random.uniform(-1, 1),
        saturation=1 + config.saturation * random.uniform(-1, 1),
        hue=config.hue * random.uniform(-1, 1),
    )


def augment(
    frames: UInt8[Tensor, "N height width 3"],
    episodes: Sequence[str],
    config: AugmentationConfig,
    place: tuple[int, ...],
) -> UInt8[Tensor, "N height width 3"]:
    """Frames of `episodes`, changed as drawn for each; `place` is where training stands: seed, epoch, batch."""
    drawn = {episode: draw(config, place, episode) for episode in dict.fromkeys(episodes)}
    values = torch.tensor([drawn[episode] for episode in episodes]).to(frames.device)
    side, left, top = values[:, :3].unbind(1)  # (N,)
    brightness, contrast, saturation, hue = values[:, 3:, None, None, None].unbind(1)  # (N, 1, 1, 1)
    images = frames.permute(0, 3, 1, 2).float() / 255
    if config.crop > 0:
        images = crop(images, side, left, top)
    if config.brightness > 0:
        images = (images * brightness).clamp_(0, 1)
    if config.contrast > 0:
        images = blend(images, grey(images).mean(dim=(2, 3), keepdim=True), contrast)
    if config.saturation > 0:
        images = blend(images, grey(images), saturation)
    if config.hue > 0:
        images = turn_hue(images, hue)
    return (images * 255).round_().to(torch.uint8).permute(0, 2, 3, 1)


def crop(images: Images, side: Float[Tensor, " N"], left: Float[Tensor, " N"], top: Float[Tensor, " N"]) -> Images:
    """The square of each image, resized to the whole by bilinear interpolation: it is never made smaller."""
    none = torch.zeros_like(side)
    across, down = (2 * corner + side - 1 for corner in (left, top))  # in [-1, 1] from edge to edge
    affine = torch.stack([side, none, across, none, side, down], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def grey(images: Images) -> Float[Tensor, "N 1 height width"]:
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)


def blend(images: Images, other: Tensor, factor: Tensor) -> Images:
    """Away from `other` for a factor above 1, towards it below (Haeberli & Voorhies 1994)."""
    return torch.lerp(other, images, factor).clamp_(0, 1)


def turn_hue(images: Images, turn: Tensor) -> Images:
    """To hue, saturation and value, and back with another hue (Smith 1978, "Color gamut transform pairs")."""
    red, green, blue = images.unbind(1)  # (N, height, width)
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    scale = torch.where(chroma > 0, chroma, 1)
    sixth = torch.where(  # of the colour circle, from red over green and blue
        value == red,
        (green - blue) / scale,
        torch.where(value == green, 2 + (blue - red) / scale, 4 + (red - green) / scale),
    )
    turned = sixth + 6 * turn[:, 0]
    channels = []
    for start in (5, 3, 1):  # where each channel is lowest
        along = (start + turned) % 6
        channels.append(value - chroma * torch.minimum(along, 4 - along).clamp(0, 1))
    return torch.stack(channels, dim=1)
