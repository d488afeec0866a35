"""Pictures that are no episode's frame, to be shown in its place: one colour, or the mean of many frames.

In: pixels, as the model's preprocessing wants frames. Out: a `Still`, which knows its content, so that nothing that is
kept for one picture is ever taken for another.
"""

import hashlib
from dataclasses import dataclass, field

import torch
from jaxtyping import UInt8
from torch import Tensor

from mobile_vla.core.preprocessing import Preprocessing

BLANK, MEAN = "blank", "mean"


@dataclass(frozen=True, kw_only=True)
class Still:
    """id: `<name>:<digest of its pixels>`; stills of the same id are the same."""

    id: str
    pixels: UInt8[Tensor, "H V 3"] = field(compare=False, repr=False)

    @classmethod
    def of(cls, name: str, pixels: UInt8[Tensor, "H V 3"]) -> "Still":
        digest = hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()[:16]
        return cls(id=f"{name}:{digest}", pixels=pixels)


def blank_still(preprocessing: Preprocessing) -> Still:
    """The colour that becomes 0 in every channel, up to rounding to whole levels."""
    colour = (torch.tensor(preprocessing.mean) * 255).round().to(torch.uint8)
    return Still.of(BLANK, colour.expand(preprocessing.size, preprocessing.size, 3).contiguous())
