"""What a continued run may change: how long and how fast it trains, never what it is; the split that it keeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobile_vla.checkpoints.trained import action_space
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import Dataset
from mobile_vla.data.held_out import check_unchanged
from mobile_vla.data.splits import Split, load_split, make_split
from mobile_vla.runs.settings import find_changes
from mobile_vla.training.config import TrainConfig

FIXED = ("model.", "data.", "seed", "start", "optimization.huber_delta")
FREE = (  # a checkpoint fits whatever these are: base weights and episodes are known by their fingerprints
    "data.root", "data.pattern", "data.labels", "data.batch_size", "data.num_workers", "data.pack", "data.pack_dir",
    "data.faults", "data.max_fault_share", "data.max_action", "model.weights", "model.gradient_checkpointing",
)  # fmt: skip
STEP_SIZE = ("data.batch_size", "trainer.accumulate_grad_batches", "trainer.devices", "trainer.num_nodes")
SILENT = (
    "data.num_workers", "data.pack", "data.pack_dir", "cache.", "callbacks.", "logger.", "doctor.",
    "trainer.enable_progress_bar",
)  # fmt: skip


def check_resumable(checkpoint: Mapping[str, Any], plain: Mapping[str, Any], actions: ActionSpace) -> list[str]:
    """A line for each change that is allowed; `UserError` that names what was changed if the run would be another."""
    known = checkpoint["mobile_vla"]
    changes = find_changes(known["config"], plain)
    refused = [line for name, line in changes.items() if name.startswith(FIXED) and name not in FREE]
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
    return [f"{line}: {_meaning(name, plain, step)}" for name, line in changes.items() if not name.startswith(SILENT)]


def _meaning(name: str, plain: Mapping[str, Any], step: int) -> str:
    """What a change of the setting does to the rest of the run."""
    if name in STEP_SIZE:
        return f"from step {step} on an optimizer step holds another number of windows, at the same learning rate"
    if name in ("trainer.max_epochs", "trainer.max_steps"):
        if plain["optimization"]["schedule"] == "cosine":
            return f"the cosine now ends there, so the learning rate jumps at step {step}"
        return "the learning rate stays what it is"
    if name.startswith(("optimization.", "augmentation.")):
        return f"holds from step {step} on"
    return "holds from here on"


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
