"""Whether the settings still describe the model that a checkpoint is of.

In: the configuration that the checkpoint holds, and the one that is wanted now. Out: nothing, or a `UserError`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mobile_vla.core.changes import Change, find_change
from mobile_vla.core.errors import UserError
from mobile_vla.runs.settings import list_settings
from mobile_vla.training.config import TrainConfig


def refuse_other_model(stored: Mapping[str, Any], config: TrainConfig) -> None:
    """`UserError` that names the settings in which the model would be another than the one that was trained."""
    free = [f"model.head.{name}" for name in config.model.head.free]
    before = list_settings(stored)
    now = list_settings(_lists({"model": asdict(config.model), "data": asdict(config.data)}))
    changed = [
        f"{name} ({before.get(name)} -> {now.get(name)})"
        for name in sorted(before.keys() | now.keys(), key=lambda name: (not name.endswith(".name"), name))
        if find_change(TrainConfig, name) is Change.MODEL
        and name not in free
        and (name in before or name.startswith("data.bounds."))
        and before.get(name) != now.get(name)
    ]
    if changed:
        raise UserError(
            f"the checkpoint is of another model: {', '.join(changed[:4])}; leave these settings as they were"
        )


def _lists(value: Any) -> Any:
    """Tuples as the lists that a stored configuration has."""
    if isinstance(value, Mapping):
        return {key: _lists(part) for key, part in value.items()}
    return [_lists(part) for part in value] if isinstance(value, list | tuple) else value
