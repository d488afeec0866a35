"""A training prepared: everything that can be wrong with it is found, and nothing is written.

machine -> model source -> dataset -> split -> action space -> data module -> what of the frozen work is kept

In: a configuration, or one with the folder of a run that goes on. Out: a `Training`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from mobile_vla.checkpoints.files import find_resumable
from mobile_vla.checkpoints.trained import action_space, read_checkpoint
from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import Progress, fit_actions
from mobile_vla.evaluation.findings import plan_effects
from mobile_vla.models.skeleton import build_skeleton
from mobile_vla.opening.configuration import Configuration
from mobile_vla.runs.lock import refuse_if_locked
from mobile_vla.taps.points import resolve_taps
from mobile_vla.training.cache_plan import describe_plan, find_usable, plan_cache
from mobile_vla.training.callbacks.compiled import check_compiler
from mobile_vla.training.callbacks.probe import describe_stored
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.resuming import check_resumable, find_split
from mobile_vla.training.run import Training
from mobile_vla.training.start import describe_start, with_head
from mobile_vla.training.trainer import choose_machine


def open_training(
    config: TrainConfig,
    plain: Mapping[str, Any],
    run_folder: Path | None = None,
    progress: Progress | None = None,
) -> Training:
    """plain: the configuration as it is stored with the run. `UserError` for whatever is wrong.

    With `run_folder` the training continues there, on the split that was stored with it.
    """
    machine = choose_machine(config.trainer)
    if config.trainer.compile:
        check_compiler(machine.accelerator)
    if run_folder is not None and rank_zero_only.rank == 0:
        refuse_if_locked(run_folder)
    resumed, notes = (None, []) if run_folder is None else find_resumable(run_folder / "checkpoints")
    config.data.source.find(config.data.roots())  # before a model is looked for, which may take a while on the hub
    opened = Configuration.open(config, machine)
    source = opened.source
    if config.model.lora.has_adapters:
        config.model.lora.text_layers(source.sketch.num_text_layers)  # refuses layers that are not there
    dataset = opened.open_data(progress)
    split, lost = find_split(config, dataset, run_folder, notes)
    training = split.of(dataset.episodes, "train")
    actions = fit_actions(config.data, training)
    opened = opened.fit_to(actions, training)
    if opened.config != config:
        config, plain = opened.config, with_head(plain, opened.config.model.head)
    if resumed is None and config.start is not None:
        notes += describe_start(Path(config.start).expanduser(), actions)
    if resumed is not None:
        known = read_checkpoint(resumed)
        if lost:
            actions = action_space(known["mobile_vla"])  # of all that the run began with
        notes += check_resumable(known, plain, actions)
    data = opened.data_module(
        dataset,
        split,
        actions,
        config=config.data,
        accumulate=config.trainer.accumulate_grad_batches,
        pin_memory=machine.accelerator == "gpu",
    )
    world = config.trainer.num_devices * config.trainer.num_nodes
    for part in ("train", "validation"):
        if (windows := data.plan(part).num_windows) < world:
            raise UserError(f"{windows} {part} windows cannot be dealt to {world} devices; use fewer devices")
    taps = ()
    if config.callbacks.probe is not None:
        skeleton = build_skeleton(config.model, config.data.chunk, len(actions.components))
        notes += describe_stored(config.callbacks.probe, data, skeleton)
        taps = resolve_taps(skeleton, config.callbacks.probe.taps)
    usable = find_usable(source, config.augmentation, taps)
    cache = plan_cache(
        config.cache,
        usable,
        source,
        data,
        lambda: plan_effects(data, "validation", data.episodes("train"))[0].interventions().values(),
        machine.compute_dtype,
    )
    notes += describe_plan(cache, usable)
    return Training(
        config=config,
        plain=plain,
        machine=machine,
        source=source,
        dataset=dataset,
        split=split,
        actions=actions,
        data=data,
        continues=run_folder,
        resumed=resumed,
        cache=cache,
        notes=tuple(notes),
    )
