"""`load`: a policy from wherever its weights lie.

In: a run's folder (also one that `mobile-vla import` made), a folder that `mobile-vla export` wrote, or a checkpoint.
Out: a `LoadedPolicy`. Each is opened as the commands open it: weights, bounds and preprocessing are the file's own.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch.utilities.seed import isolate_rng

from mobile_vla.api.policy import LoadedPolicy
from mobile_vla.checkpoints.foreign import open_foreign
from mobile_vla.checkpoints.trained import action_space, read_checkpoint
from mobile_vla.cli.foreign_policy import WORDS, settle_foreign
from mobile_vla.cli.registry import load_command
from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import suggest_neighbour
from mobile_vla.jobs.launch import compose_values
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.opening.stored_run import StoredRun, build_trained, find_machine
from mobile_vla.settings.conf_folder import find_conf_folder
from mobile_vla.settings.saved import FILE, Saved, read_config
from mobile_vla.settings.typed import build
from mobile_vla.training.config import TrainConfig

NOT_OF_TRAINING = (*WORDS, "checkpoint")  # settings of `doctor` beside the policy's


def load(
    path: Path | str,
    *,
    checkpoint: Path | str = "best",
    device: torch.device | str | None = None,
    settings: Sequence[str] = (),
    trust: bool = False,
) -> LoadedPolicy:
    """A policy ready to drive. The random numbers of the program that calls it stay as they were.

    path        a run's folder, an exported folder, or a checkpoint
    checkpoint  of a run: `best` (by validation loss), `last`, `start` (before training), or a file
    device      for example `cuda:1`; without it what the run was trained on, where this machine has it, else the CPU
    settings    words as on the command line, for what a checkpoint from elsewhere does not say: `model.layout=legacy`
    trust       let such a checkpoint run what it asks for: only if you know who made it

    `UserError` where there is no policy, or it is damaged or incomplete.
    """
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise UserError(f"path: there is no such file or folder: {path}{suggest_neighbour(place)}")
    _check_device(device)
    with isolate_rng():  # fresh weights are drawn from a seed before the trained ones replace them
        if (place / FILE).is_file():
            if settings:
                raise UserError(f"settings={list(settings)}: a run says itself how it was trained; leave them out")
            return _load_run(place, str(checkpoint), device)
        if checkpoint != "best":
            raise UserError(
                f"checkpoint={checkpoint}: {path} is no run's folder, which alone has several; leave it out"
            )
        return _load_file(place, device, settings, trust)


def _load_run(folder: Path, checkpoint: str, device: torch.device | str | None) -> LoadedPolicy:
    values = Saved(file=folder / FILE, values=read_config(folder / FILE, f"path={folder}")).resolve()
    config = _place(build(TrainConfig, values), device)
    stored = StoredRun.open(folder, config, checkpoint, insist_on_machine=device is not None)
    return LoadedPolicy(
        source="start" if stored.at_start else str(stored.checkpoint),
        module=stored.policy(None if device is None else torch.device(device)),
        actions=stored.actions,
        prompter=Prompter(stored.source.tokenizer, config.model.prompt),
        window=config.data.window,
        trained=not (stored.at_start or stored.untrained_head),
        notes=() if stored.note is None else (stored.note,),
    )


def _load_file(path: Path, device: torch.device | str | None, settings: Sequence[str], trust: bool) -> LoadedPolicy:
    foreign = open_foreign(path, trust)
    if foreign.format.name == "mobile_vla" and path.is_file():
        if settings:
            raise UserError(
                f"settings={list(settings)}: this checkpoint says itself how it was trained; leave them out"
            )
        return _load_own(path, device)
    composed = compose_values(load_command("doctor"), settings, find_conf_folder())
    values = {name: value for name, value in composed.items() if name not in NOT_OF_TRAINING}
    values["data"] = {**values["data"], "root": "."}  # never opened
    found = settle_foreign(foreign, values, settings, "all").found
    machine, note = find_machine(_place(found.config, device).trainer, insist=device is not None)
    policy, parts = found.assemble(machine.compute_dtype)
    return LoadedPolicy(
        source=str(path),
        module=policy.to(device or machine.device),
        actions=found.actions,
        prompter=Prompter(found.source.tokenizer, found.config.model.prompt),
        window=found.config.data.window,
        trained=bool(parts["action_head"].loaded),
        notes=(*foreign.notes, *([] if note is None else [note])),
    )


def _load_own(file: Path, device: torch.device | str | None) -> LoadedPolicy:
    """A checkpoint of this package without its run's folder."""
    known = read_checkpoint(file)["mobile_vla"]
    config = _place(build(TrainConfig, known["config"]), device)
    actions, source = action_space(known), open_source(config.model)
    machine, note = find_machine(config.trainer, insist=device is not None)
    return LoadedPolicy(
        source=str(file),
        module=build_trained(config, source, actions, machine, file).to(device or machine.device),
        actions=actions,
        prompter=Prompter(source.tokenizer, config.model.prompt),
        window=config.data.window,
        trained="action_head" not in known.get("imported", {}).get("new", {}),
        notes=() if note is None else (note,),
    )


def _place(config: TrainConfig, device: torch.device | str | None) -> TrainConfig:
    """The settings with the device that was asked for; its own precision where it is of another kind."""
    if device is None:
        return config
    kind = torch.device(device).type
    accelerator = "gpu" if kind == "cuda" else kind
    precision = config.trainer.precision if config.trainer.accelerator == accelerator else "auto"
    return replace(config, trainer=replace(config.trainer, accelerator=accelerator, precision=precision))


def _check_device(device: torch.device | str | None) -> None:
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"device={str(device)!r}: not available here ({reason}); expected for example cpu") from error
