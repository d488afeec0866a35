"""A checkpoint of this package without the folder of its run: it says itself how it was trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mobile_vla.checkpoints.trained import action_space, load_trained, read_checkpoint
from mobile_vla.core.actions import ActionSpace
from mobile_vla.models.backbones.loading import Source, open_source
from mobile_vla.models.policy import Policy
from mobile_vla.opening.machine import find_machine
from mobile_vla.opening.opened import OpenedPolicy, list_new
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.start import build_start
from mobile_vla.training.trainer import Machine


@dataclass(frozen=True, kw_only=True)
class CheckpointFile(OpenedPolicy):
    file: Path
    actions: ActionSpace
    names_its_episodes = True

    @classmethod
    def open(cls, file: Path, config: TrainConfig, insist: bool = False) -> "CheckpointFile":
        """config: the one that it holds. `UserError` where the file is damaged, or its base model cannot be had."""
        actions = action_space(read_checkpoint(file)["mobile_vla"])
        machine, note = find_machine(config.trainer, insist)
        return cls(
            config=config,
            source=open_source(config.model),
            machine=machine,
            actions=actions,
            notes=() if note is None else (note,),
            file=file,
        )

    def build(self) -> Policy:
        return build_trained(self.config, self.source, self.actions, self.machine, self.file)

    @property
    def origin(self) -> Mapping[str, Any]:
        known = read_checkpoint(self.file)
        return {"folder": None, "checkpoint": str(self.file), "epoch": known["epoch"], "step": known["global_step"]}

    @property
    def has_trained_head(self) -> bool:
        return "action_head" not in read_checkpoint(self.file)["mobile_vla"].get("imported", {}).get("new", {})

    def trained_state(self, policy: Policy) -> Mapping[str, Tensor]:
        return read_checkpoint(self.file)["state_dict"]

    def new_parts(self, policy: Policy) -> frozenset[str]:
        return list_new(read_checkpoint(self.file)["mobile_vla"], policy)


def build_trained(config: TrainConfig, source: Source, actions: ActionSpace, machine: Machine, file: Path) -> Policy:
    """The policy of a checkpoint of ours, on the CPU, in eval mode."""
    begun = replace(config, start=None)  # what it began with is overwritten
    policy = build_start(begun, source, len(actions.components), machine.compute_dtype)
    load_trained(policy, file)
    return policy
