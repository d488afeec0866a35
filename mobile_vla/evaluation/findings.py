"""What a trained policy is worth on a part of the split: metrics, baselines beside them, effects of its inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobile_vla.core.batch import OWN
from mobile_vla.core.dependence import Dependence
from mobile_vla.core.pace import Pace
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import Progress
from mobile_vla.data.meaning import find_dependence, find_meanings
from mobile_vla.data.splits import Part
from mobile_vla.evaluation.baselines import Baselines
from mobile_vla.evaluation.effects import Effect, EffectPlan, warnings
from mobile_vla.evaluation.metrics import EpisodeSums, label_names
from mobile_vla.evaluation.passes import evaluate
from mobile_vla.models.policy import Policy
from mobile_vla.sources.schema import Episode


@dataclass(frozen=True, kw_only=True)
class Measured:
    """own: the policy's sums by episode as recorded, which `sums` reads; effects of its inputs, by name; dependence: of
    the recorded actions on the instruction."""

    sums: EpisodeSums
    own: np.ndarray
    effects: Mapping[str, Effect]
    dependence: Dependence
    share_padded: float


def baseline_tables(
    data: EpisodeDataModule, part: Part, sums: EpisodeSums, training: Sequence[Episode]
) -> dict[str, np.ndarray]:
    """Each baseline's sums by episode, fitted on `training`, on the windows of `part`."""
    baselines = Baselines(training, data.actions, data.config.chunk)
    assembler = data.assembler(data.episodes(part), with_frames=False)
    return {str(name): table for name, table in baselines.score(assembler, data.plan(part), sums).items()}


def baseline_losses(data: EpisodeDataModule, part: Part, sums: EpisodeSums) -> dict[str, float]:
    """The loss of each baseline, fitted on the training split, on the windows of `part`."""
    tables = baseline_tables(data, part, sums, data.episodes("train"))
    return {name: sums.summary(table)["loss"] for name, table in tables.items()}


def plan_effects(data: EpisodeDataModule, part: Part, training: Sequence[Episode]) -> tuple[EffectPlan, Dependence]:
    """Which other texts and frames the episodes of `part` are shown with (see `measure`), and whether the recorded
    actions depend on the instruction."""
    episodes = data.episodes(part)
    known = sorted({*training, *episodes}, key=lambda episode: (episode.id, episode.place))
    meanings = find_meanings(known, data.config.instruction_label)
    dependence = find_dependence(known, data.actions, meanings)
    why_not = None if dependence.depends else dependence.sentence
    return EffectPlan(episodes, meanings, data.tokenize.length, why_not), dependence


def measure(
    policy: Policy,
    data: EpisodeDataModule,
    part: Part,
    sums: EpisodeSums,
    training: Sequence[Episode],
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> Measured:
    """The policy on `part`, as recorded and under interventions.

    The training episodes say with the others what instructions mean and whether actions depend on them.
    """
    plan, dependence = plan_effects(data, part, training)
    report = None if progress is None else lambda done, total: progress("measuring effects", done, total)
    assembler = data.assembler(data.episodes(part), from_features=True)
    batches = assembler.batches(data.plan(part))
    tables = evaluate(policy, assembler, batches, sums, plan.interventions(), report, pace)
    return Measured(
        sums=sums,
        own=tables[OWN],
        effects=plan.effects(tables, sums),
        dependence=dependence,
        share_padded=data.share_padded(part),
    )


def describe(measured: Measured, baselines: Mapping[str, float]) -> dict[str, Any]:
    """Plain values, as in `train.json` and `eval.json`; `loss` is the policy's. `baselines` may be empty."""
    sums, effects = measured.sums, measured.effects
    return {
        **sums.summary(measured.own, label_names(sums.episodes)),
        "baselines": dict(baselines),
        "best_baseline": min(baselines, key=lambda name: baselines[name], default=None),
        **{f"{name}_effect": effect.ratio for name, effect in effects.items()},
        "reasons": {f"{name}_effect": effect.reason for name, effect in effects.items() if effect.reason},
        "instruction_dependence": measured.dependence.to_plain(),
        "effects": {name: effect.as_dict() for name, effect in effects.items()},
        "warnings": warnings(effects),
        "share_padded": measured.share_padded,
    }


def find(
    policy: Policy,
    data: EpisodeDataModule,
    part: Part,
    sums: EpisodeSums,
    baselines: Mapping[str, float],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What a policy is worth on a part of the split that its data module holds; `loss` is the loss on `part`."""
    measured = measure(policy, data, part, sums, data.episodes("train"), progress)
    return describe(measured, baselines)
