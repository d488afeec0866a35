"""`open_policy`: whatever a path holds a policy in, opened.

In: the folder of a run, a checkpoint of this package, an exported folder, or a file from elsewhere. Out: an
`OpenedPolicy` on the device that was asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mobile_vla.checkpoints.foreign import Foreign, open_foreign
from mobile_vla.checkpoints.trained import read_checkpoint
from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import suggest_neighbour
from mobile_vla.data.dataset import DataConfig
from mobile_vla.opening.checkpoint_file import CheckpointFile
from mobile_vla.opening.foreign_policy import WORDS, settle_foreign
from mobile_vla.opening.opened import OpenedPolicy
from mobile_vla.opening.stored_run import StoredRun
from mobile_vla.runs.search import CONFIG
from mobile_vla.settings.composing import OUTPUT, compose_values
from mobile_vla.settings.saved import read_run
from mobile_vla.settings.typed import build
from mobile_vla.training.config import TrainConfig

COMPOSED = "doctor"  # its settings are a policy's, with or without episodes
NOT_OF_TRAINING = (*OUTPUT, *WORDS, "run", "checkpoint")
NOWHERE = "."  # a folder that is never opened: settings of data need one

Device = torch.device | str | None


def open_policy(
    path: Path | str,
    *,
    checkpoint: Path | str = "best",
    device: Device = None,
    settings: Sequence[str] = (),
    trust: bool = False,
    data: Mapping[str, Any] | None = None,
) -> OpenedPolicy:
    """checkpoint  of a run: `best` (by validation loss), `last`, `start` (before training), or a file
    device      without it what the run was trained on, where this machine has it, else the CPU
    settings    as they are typed on the command line, for what a checkpoint from elsewhere does not say
    trust       let such a checkpoint run what it asks for
    data        settings of `DataConfig` that take the place of the run's own, such as `root`

    `UserError` where there is no policy, or it is damaged or incomplete.
    """
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise UserError(f"there is no such file or folder: {path}{suggest_neighbour(place)}", argument="path")
    check_device(device)
    if (place / CONFIG).is_file():
        if settings:
            raise UserError("a run says itself how it was trained; leave them out", argument="settings", value=settings)
        return open_run(place, str(checkpoint), device=device, data=data)
    if checkpoint != "best":
        message = f"{path} is not the folder of a run, which alone has several; leave it out"
        raise UserError(message, argument="checkpoint", value=str(checkpoint))
    foreign = open_foreign(place, trust)
    insist = device is not None
    if is_own(foreign):
        if settings:
            message = "this checkpoint says itself how it was trained; leave them out"
            raise UserError(message, argument="settings", value=settings)
        config = change(build(TrainConfig, read_checkpoint(place)["mobile_vla"]["config"]), device, data)
        return CheckpointFile.open(place, config, insist)
    values = compose_values(COMPOSED, settings, NOT_OF_TRAINING)
    values["data"] = {**values["data"], "root": NOWHERE}
    given = {text.lstrip("+").partition("=")[0] for text in settings}
    found = settle_foreign(foreign, values, given, "all").found
    return replace(found, config=change(found.config, device, data)).placed(insist)


def open_run(
    folder: Path | str, checkpoint: str = "best", *, device: Device = None, data: Mapping[str, Any] | None = None
) -> StoredRun:
    """As `open_policy`, of a run."""
    saved = read_run(str(folder))
    assert saved.run_folder is not None
    config = build(TrainConfig, saved.resolve())
    return StoredRun.open(
        saved.run_folder,
        change(config, device, data),
        checkpoint,
        trained_on=config.data,
        insist_on_machine=device is not None,
    )


def open_run_as(
    folder: Path,
    values: Mapping[str, Any],
    saved: Mapping[str, Any],
    checkpoint: str = "best",
    insist_on_machine: bool = False,
) -> StoredRun:
    """A run with settings that were changed. values: all of them now;  saved: as the run stored them."""
    return StoredRun.open(
        folder,
        build(TrainConfig, values),
        checkpoint,
        trained_on=build(DataConfig, saved["data"], "data"),
        insist_on_machine=insist_on_machine,
    )


def is_own(foreign: Foreign) -> bool:
    """Whether it is a checkpoint of this package; a folder of that format is an export."""
    return foreign.format.name == "mobile_vla" and foreign.path.is_file()


def change(config: TrainConfig, device: Device, data: Mapping[str, Any] | None) -> TrainConfig:
    """The settings with other episodes, and the device that was asked for; its own precision where that is of another
    kind."""
    if data:
        config = replace(config, data=replace(config.data, **data))
    if device is None:
        return config
    kind = torch.device(device).type
    accelerator = "gpu" if kind == "cuda" else kind
    precision = config.trainer.precision if config.trainer.accelerator == accelerator else "auto"
    return replace(config, trainer=replace(config.trainer, accelerator=accelerator, precision=precision))


def check_device(device: Device) -> None:
    """`UserError` for one that this machine does not have."""
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"not available here ({reason}); expected for example cpu", argument="device", value=str(device)
        ) from error
