"""Follows the effects of instruction and image while training runs: `effects/...`, a number a validation.

In: some episodes of the validation part. Out: their loss with the instruction swapped, paraphrased, the image replaced,
each divided by their loss, as scalars beside `val_loss`. Texts and frames are those of the effects in `train.json`,
which are over all validation windows. Nothing draws at random, so training is the same with these numbers and without.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mobile_vla.core.errors import UserError
from mobile_vla.data.assemble import BatchAssembler
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.evaluation.effect_sample import sample_windows
from mobile_vla.evaluation.effects import Effect
from mobile_vla.evaluation.findings import plan_effects
from mobile_vla.evaluation.metrics import EpisodeSums
from mobile_vla.evaluation.passes import evaluate
from mobile_vla.models.policy import Policy


@dataclass(frozen=True, kw_only=True)
class EffectsConfig:
    """episodes: of the validation part, at most; 0: none."""

    episodes: int = 16

    def __post_init__(self):
        if self.episodes < 0:
            raise UserError(f"must not be negative, got {self.episodes}; 0 follows none", argument="episodes")


class EffectCurves(Callback):
    """delta: of the loss;  say: prints a line to the user."""

    def __init__(
        self,
        config: EffectsConfig,
        data: EpisodeDataModule,
        delta: float,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ):
        self.data, self.say = data, say
        self.plan, _ = plan_effects(data, "validation", data.episodes("train"))
        self.sums = EpisodeSums(self.plan.episodes, data.actions, data.config.chunk, delta)
        most_frames = data.config.batch_size * data.config.window  # as many as a training step may hold
        self.batches = sample_windows(self.plan.episodes, self.plan.donors, data.config, config.episodes, most_frames)
        self._assembler: BatchAssembler | None = None
        self._found: dict[str, float] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is computed of frames beforehand is known by now."""
        self._assembler = self.data.assembler(self.plan.episodes, from_features=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before a probe's hooks are on the policy."""
        if trainer.sanity_checking:
            return
        assert self._assembler is not None
        begun, policy = time.perf_counter(), pl_module.policy
        assert isinstance(policy, Policy)
        tables = evaluate(
            policy,
            self._assembler,
            self.batches[trainer.global_rank :: trainer.world_size],
            self.sums,
            self.plan.interventions(),
        )
        effects = self.plan.effects(_over_ranks(trainer, tables), self.sums)
        if not self._found and trainer.is_global_zero:
            self._tell({name: effect for name, effect in effects.items() if effect.ratio is None})
        self._found = {f"effects/{name}": effect.ratio for name, effect in effects.items() if effect.ratio is not None}
        self._found["speed/effects_s"] = time.perf_counter() - begun

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            pl_module.log_dict(self._found)

    def _tell(self, missing: Mapping[str, Effect]) -> None:
        windows = [window for batch in self.batches for window in batch]
        episodes = len({window.episode for window in windows})
        without = "".join(
            f"; none of the {name}: {effect.reason or 'these episodes have none'}" for name, effect in missing.items()
        )
        self.say(f"effects are followed on {len(windows)} windows of {episodes} validation episodes{without}")


def _over_ranks(trainer: Trainer, tables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each rank has run some of the batches."""
    if trainer.world_size == 1:
        return dict(tables)
    found: list[dict[str, np.ndarray]] = [{}] * trainer.world_size
    torch.distributed.all_gather_object(found, dict(tables))
    return {name: sum(part[name] for part in found) for name in tables}  # pyright: ignore[reportReturnType]
