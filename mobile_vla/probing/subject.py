"""What is looked into: a policy, trained or not, and episodes of which each knows whether it was trained on.

Made by `opening.subject`; its policy is built when all that is cheaper to check was found valid.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.splits import Part
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.policy import Policy

Wanted = Part | Literal["all"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """data: the chosen episodes are its validation part, its dataset has all that were opened.

    split    what was asked for: a part, `all`, or None for all episodes of other data
    parts    of each chosen episode, by id, the part that the run had it in; None where nothing was trained on any
    build    makes the policy on a device
    trained  whether its head means anything
    run      where it comes from, in plain values: folder, checkpoint (or `start`), epoch (whole ones trained), step
    """

    model: ModelConfig
    data: EpisodeDataModule
    split: Wanted | None
    parts: Mapping[str, str | None]
    device: torch.device
    accelerator: str
    precision: str
    build: Callable[[torch.device], Policy]
    trained: bool
    run: Mapping[str, Any]
    note: str | None = None
