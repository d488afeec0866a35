"""What a continued run may change: how long and how fast it trains, never what it is; the split that it keeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobile_vla.checkpoints.trained import action_space
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.changes import Change, find_change
from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import Dataset
from mobile_vla.data.held_out import check_unchanged
from mobile_vla.data.splits import Split, load_split, make_split
from mobile_vla.runs.settings import find_changes
from mobile_vla.training.config import TrainConfig

REFUSED = (Change.MODEL, Change.RUN)


def check_resumable(checkpoint: Mapping[str, Any], plain: Mapping[str, Any], actions: ActionSpace) -> list[str]:
    """A line for each change that is allowed; `UserError` that names what was changed if the run would be another."""
    known = checkpoint["mobile_vla"]
    changes = find_changes(known["config"], plain)
    means = {name: find_change(TrainConfig, name) for name in changes}
    refused = [line for name, line in changes.items() if means[name] in REFUSED]
    if refused:
        more = f" and {len(refused) - 4} more" if len(refused) > 4 else ""
        raise UserError(
            f"a run continues as what it is, but these were changed: {', '.join(refused[:4])}{more}; leave them out, "
            "or start a new run with config=<run>/config.yaml"
        )
    if action_space(known) != actions:
        raise UserError(
            "the actions of the run's training episodes changed since it began (their bounds differ from the "
            "checkpoint's); restore the data, or start a new run with config=<run>/config.yaml"
        )
    step = checkpoint["position"]["step"]
    return [
        f"{line}: {_tell(means[name], plain, step)}"
        for name, line in changes.items()
        if means[name] is not Change.SILENT
    ]


def _tell(change: Change, plain: Mapping[str, Any], step: int) -> str:
    """What it does to the rest of the run."""
    if change is Change.STEP_SIZE:
        return f"from step {step} on an optimizer step holds another number of windows, at the same learning rate"
    if change is Change.END:
        if plain["optimization"]["schedule"] == "cosine":
            return f"the cosine now ends there, so the learning rate jumps at step {step}"
        return "the learning rate stays what it is"
    return f"holds from step {step} on" if change is Change.FROM_STEP else "holds from here on"


def find_split(config: TrainConfig, dataset: Dataset, run_folder: Path | None, notes: list[str]) -> tuple[Split, int]:
    """A new split, or the one that a run began with, and how many of its files went bad since; says so in `notes`."""
    stored = None if run_folder is None else load_split(run_folder / "split.json")
    if stored is None or stored.unknown is not None:  # an imported run is trained here for the first time
        return make_split(dataset.episodes, config.data.split), 0
    split = stored.without({fault.file for fault in dataset.faults})
    if lost := len(stored.recorded) - len(split.recorded):
        notes.append(f"{lost} files of the run went bad since it began: left out from here on")
    if new := check_unchanged(split, dataset.episodes):
        notes.append(f"{len(new)} episodes that the run does not know are left out (first: {new[0].id})")
    return split, lost
