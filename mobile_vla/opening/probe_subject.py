"""What is looked into: a policy, trained or not, and episodes of which each knows whether it was trained on.

In: a run and a part of its split, or the settings of a model that was never trained. Out: a `Subject`.
"""

from dataclasses import replace
from typing import Any, cast

import torch

from mobile_vla.checkpoints.choosing import START
from mobile_vla.checkpoints.trained import read_checkpoint
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import Progress, check_labels, fit_actions, open_dataset
from mobile_vla.data.splits import PARTS, Part, Split, make_split
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.policy import Policy
from mobile_vla.opening.stored_run import WHOLE, StoredRun
from mobile_vla.probing.subject import Subject, Wanted
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.start import build_start
from mobile_vla.training.trainer import choose_machine


def subject_of_run(stored: StoredRun, split: Wanted | None, progress: Progress | None = None) -> Subject:
    """Without a split: the validation part, or of other data all episodes, none of which was trained on."""
    split = split or (None if stored.reads_other_files else "validation")
    data, parts = stored.look_into(split, progress)
    return Subject(
        model=stored.config.model,
        accelerator=stored.machine.accelerator,
        precision=stored.machine.precision,
        data=data,
        split=split,
        parts=parts,
        device=stored.device,
        build=stored.policy,
        trained=not (stored.at_start or stored.untrained_head),
        run={"folder": str(stored.folder), **_stand(stored)},
        note=" ".join(note for note in (stored.note, stored.unknown_training) if note) or None,
    )


def subject_of_untrained(config: TrainConfig, split: Wanted | None, progress: Progress | None = None) -> Subject:
    """The model as a training with these settings begins; a part is the one that it would be dealt."""
    machine = choose_machine(replace(config.trainer, devices=1))
    source = open_source(config.model)
    dataset = open_dataset(config.data, source.preprocessing, progress)
    check_labels(config.data, dataset)
    actions = fit_actions(config.data, list(dataset.episodes))
    split = split or WHOLE
    parts: dict[str, str | None] = {episode.id: None for episode in dataset.episodes}
    if split != WHOLE:
        dealt = make_split(dataset.episodes, config.data.split)
        parts = dict.fromkeys(dealt.parts[cast(Part, split)], split)
    alone = Split({**dict.fromkeys(PARTS, ()), "validation": tuple(parts)})
    prompter = Prompter(source.tokenizer, config.model.prompt)
    settings = replace(config.data, faults="error")

    def build(device: torch.device) -> Policy:
        return build_start(config, source, len(config.data.components), machine.compute_dtype).to(device)

    return Subject(
        model=config.model,
        accelerator=machine.accelerator,
        precision=machine.precision,
        data=EpisodeDataModule(settings, dataset, alone, actions, prompter, seed=config.seed),
        split=split,
        parts=parts,
        device=machine.device,
        build=build,
        trained=False,
        run={"folder": None, "checkpoint": None, "epoch": None, "step": None},
    )


def _stand(stored: StoredRun) -> dict[str, Any]:
    """Which weights of the run they are, and how much training they have had."""
    if stored.at_start:
        return {"checkpoint": START, "epoch": 0, "step": 0}
    known = read_checkpoint(stored.checkpoint)
    return {"checkpoint": str(stored.checkpoint), "epoch": known["epoch"], "step": known["global_step"]}
