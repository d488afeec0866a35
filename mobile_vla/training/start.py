"""The policy that a training begins with: base weights, fresh adapters, a fresh head, all drawn from the run's seed; or
the trained weights of another checkpoint, where the settings name one. And what of a head's settings episodes tell.

In: a run's settings. Out: its policy before the first step, the same whenever it is asked for: training begins with
it, and what comes later makes it again to tell what training has changed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from mobile_vla.checkpoints.trained import action_space, load_trained, read_checkpoint
from mobile_vla.core.actions import ActionSpace
from mobile_vla.data.assemble import normalized_actions
from mobile_vla.models.backbones.loading import Source
from mobile_vla.models.heads.head import HeadConfig
from mobile_vla.models.policy import Policy
from mobile_vla.sources.schema import Episode
from mobile_vla.training.config import TrainConfig


def build_start(config: TrainConfig, source: Source, num_components: int, dtype: torch.dtype) -> Policy:
    """On the CPU, in eval mode; seeds everything that draws at random."""
    pl.seed_everything(config.seed, verbose=False)
    policy = Policy.build(config.model, source, config.data.chunk, num_components, dtype)
    if config.start is not None:
        load_trained(policy, Path(config.start).expanduser())
    return policy


def fit_head(config: TrainConfig, actions: ActionSpace, training: Sequence[Episode]) -> TrainConfig:
    """With the head's settings as the training episodes complete them, so that nothing later needs these episodes."""
    rows = [normalized_actions(episode, actions)[episode.action_known] for episode in training]
    head = config.model.head.fit(np.concatenate(rows))
    return replace(config, model=replace(config.model, head=head))


def with_head(plain: Mapping[str, Any], head: HeadConfig) -> dict[str, Any]:
    """A configuration in plain values, as it is stored, with the settings of this head."""
    return {**plain, "model": {**plain["model"], "head": json.loads(json.dumps(asdict(head)))}}


def describe_start(file: Path, actions: ActionSpace) -> list[str]:
    """What it means to begin with a checkpoint's weights; `UserError` where it is none."""
    there = action_space(read_checkpoint(file)["mobile_vla"])
    notes = [f"begins with the trained weights of {file}"]
    if there != actions:
        notes.append(f"its head was trained for other actions ({there}): give data.bounds to keep their units")
    return notes
