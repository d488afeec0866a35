"""Settings of which nothing was trained yet: the policy as a training with them begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mobile_vla.core.actions import ActionSpace
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.policy import Policy
from mobile_vla.opening.machine import find_machine
from mobile_vla.opening.opened import OpenedPolicy
from mobile_vla.sources.schema import Episode
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.start import build_start, fit_head
from mobile_vla.training.trainer import Machine


@dataclass(frozen=True, kw_only=True)
class Configuration(OpenedPolicy):
    @classmethod
    def open(cls, config: TrainConfig, machine: Machine | None = None) -> "Configuration":
        """`UserError` where the base model cannot be had. machine: without it one device of those that are named."""
        machine = machine or find_machine(config.trainer, insist=True)[0]
        return cls(config=config, source=open_source(config.model), machine=machine, actions=None)

    def fit_to(self, actions: ActionSpace, episodes: Sequence[Episode]) -> "Configuration":
        return replace(self, config=fit_head(self.config, actions, episodes))

    def build(self) -> Policy:
        return build_start(self.config, self.source, len(self.config.data.components), self.machine.compute_dtype)

    @property
    def origin(self) -> Mapping[str, Any]:
        return {"folder": None, "checkpoint": None, "epoch": None, "step": None}

    @property
    def has_trained_head(self) -> bool:
        return False
