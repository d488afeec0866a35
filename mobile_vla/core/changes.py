"""What may change of a run's settings once it has begun. The answer stands at each setting's own field:

    batch_size: int = field(default=8, metadata=on_change(Change.STEP_SIZE))

A field that says nothing follows the settings that it belongs to: all of `model` would make it another model, but for
the fields of it that say otherwise.

In: the dataclass of all settings, a setting's dotted name. Out: a `Change`.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import MappingProxyType, NoneType
from typing import Any, get_args, get_type_hints

KEY = "on_change"


class Change(Enum):
    """What another value means for a run that has begun."""

    MODEL = "trained weights belong to one value: refused wherever they are opened"
    RUN = "it would be another run: refused when it goes on"
    NOTED = "holds from here on"
    FROM_STEP = "holds from the step on where it goes on"
    STEP_SIZE = "optimizer steps hold another number of windows from there on"
    END = "where the training ends, and with it the schedule"
    SILENT = "changes nothing that is found"


def on_change(change: Change) -> Mapping[str, Change]:
    """The metadata of a field."""
    return MappingProxyType({KEY: change})


def find_change(kind: Any, name: str) -> Change:
    """kind: the dataclass of all settings. A setting that it does not know follows the last part that it does."""
    found = Change.NOTED
    for part in name.split("."):
        known = {one.name: one for one in fields(kind)} if is_dataclass(kind) else {}
        if part not in known:
            break
        found = known[part].metadata.get(KEY, found)
        hint = get_type_hints(kind)[part]
        members = [one for one in get_args(hint) if one is not NoneType and is_dataclass(one)]
        kind = members[0] if members else hint
    return found
