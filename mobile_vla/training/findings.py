"""What a trained policy is worth on a part of the split: metrics, baselines beside them, effects of its inputs."""

from collections.abc import Mapping
from typing import Any

from mobile_vla.batch import OWN
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import Progress
from mobile_vla.data.meaning import find_meanings, why_no_dependence
from mobile_vla.data.splits import Part
from mobile_vla.models.policy import Policy
from mobile_vla.training.baselines import Baselines
from mobile_vla.training.effects import EffectPlan, warnings
from mobile_vla.training.evaluation import evaluate
from mobile_vla.training.metrics import EpisodeSums, label_names


def baseline_losses(data: EpisodeDataModule, part: Part, sums: EpisodeSums) -> dict[str, float]:
    """The loss of each baseline, fitted on the training split, on the windows of `part`."""
    baselines = Baselines(data.episodes("train"), data.actions, data.config.chunk)
    tables = baselines.score(data.assembler(data.episodes(part), with_frames=False), data.plan(part), sums)
    return {name: sums.summary(table)["loss"] for name, table in tables.items()}


def find(
    policy: Policy,
    data: EpisodeDataModule,
    part: Part,
    sums: EpisodeSums,
    baselines: Mapping[str, float],
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Plain values, as in `train.json`; `loss` is the loss on `part`."""
    episodes = data.episodes(part)
    known = sorted({*data.episodes("train"), *episodes}, key=lambda episode: episode.id)
    meanings = find_meanings(known, data.config.instruction_label)
    plan = EffectPlan(
        episodes,
        meanings,
        sorted(meanings.of),
        data.tokenize.length,
        why_no_dependence(known, data.actions, meanings),
        seed=seed,
    )
    report = None if progress is None else lambda done, total: progress("measuring effects", done, total)
    tables = evaluate(policy, data.assembler(episodes), data.plan(part), sums, plan.interventions(), report)
    effects = plan.effects(tables, sums)
    return {
        **sums.summary(tables[OWN], label_names(episodes)),
        "baselines": dict(baselines),
        "best_baseline": min(baselines, key=lambda name: baselines[name]),
        **{f"{name}_effect": effect.ratio for name, effect in effects.items()},
        "reasons": {f"{name}_effect": effect.reason for name, effect in effects.items() if effect.reason},
        "effects": {name: effect.as_dict() for name, effect in effects.items()},
        "warnings": warnings(effects),
        "share_padded": data.share_padded(part),
    }
