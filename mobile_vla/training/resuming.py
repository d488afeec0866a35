"""What a continued run may change: how long and how fast it trains, never what it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobile_vla.checkpoints.trained import action_space, read_checkpoint
from mobile_vla.errors import UserError
from mobile_vla.training.tensorboard import flatten

FIXED = ("model.", "data.", "seed", "optimization.huber_delta")
FREE = (  # a checkpoint fits whatever these are; the base weights are known by their fingerprint
    "data.root", "data.batch_size", "data.span", "data.num_workers", "data.pack", "data.pack_dir", "model.weights",
    "model.gradient_checkpointing",
)  # fmt: skip


def check_resumable(checkpoint: Path, plain: Mapping[str, Any], actions: Any) -> None:
    """`UserError` that names what was changed, if the run would be another one."""
    known = read_checkpoint(checkpoint)["mobile_vla"]
    before, now = dict(flatten(known["config"])), dict(flatten(plain))
    changed = [
        f"{name} ({before.get(name)} -> {now.get(name)})"
        for name in sorted(before.keys() | now.keys())
        if name.startswith(FIXED) and name not in FREE and before.get(name) != now.get(name)
    ]
    if changed:
        raise UserError(
            f"a run continues as what it is, but these were changed: {', '.join(changed[:4])}; leave them out, or "
            "start a new run with config=<run>/config.yaml"
        )
    if action_space(known) != actions:
        raise UserError(
            "the actions of the run's training episodes changed since it began (their bounds differ from the "
            "checkpoint's); restore the data, or start a new run with config=<run>/config.yaml"
        )
