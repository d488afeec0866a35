"""Settings of an imported policy: what its file says, filled into a configuration; what only its user knows, asked for.

In: a `Foreign`, a configuration as plain values, and which of its settings were typed. Out: the configuration, and for
each setting that matters where it came from. What was typed always holds: weights that do not fit it are told later.
"""

import copy
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, Literal

from mobile_vla.checkpoints.foreign import Foreign
from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.model_config import BACKBONES, ModelConfig
from mobile_vla.models.heads.head import HEADS

Load = Literal["all", "backbone"]
OF_THE_HEAD = ("data.components", "data.bounds", "model.head.")
TYPED = "given"


def settle(
    foreign: Foreign, values: Mapping[str, Any], typed: Collection[str], load: Load
) -> tuple[dict[str, Any], dict[str, tuple[Any, str]]]:
    """(configuration, setting -> (value, where from)); `UserError` that names every setting that is to be given."""
    with_head = load == "all" and bool(foreign.of_part("action_head"))
    missing = {
        name: why
        for name, why in foreign.needs.items()
        if name not in typed and (with_head or not name.startswith(OF_THE_HEAD))
    }
    if missing:
        asked = "; ".join(f"{name}=<{why}>" for name, why in missing.items())
        raise UserError(
            f"is {foreign.format.what} and does not say all that is needed: give {asked}",
            argument="path",
            value=foreign.path,
        )
    settled = copy.deepcopy(dict(values))
    if (said := foreign.said.get("model.name")) is not None and "model.name" not in typed:
        settled["model"] = _change_backbone(settled["model"], str(said.value))
    sources: dict[str, tuple[Any, str]] = {
        name: (find(settled, name), TYPED)
        for name in typed
        if name.startswith(("model.", "data.")) and has(settled, name)
    }
    head = foreign.said.get("model.head.name")
    if with_head and head is not None and settled["model"]["head"].get("name", HEADS.default) != head.value:
        # Settings of another head than the file's mean nothing; what was typed is meant for the file's.
        kept = {name: value for name, value in settled["model"]["head"].items() if f"model.head.{name}" in typed}
        settled["model"]["head"] = kept
    for name, said in foreign.said.items():
        if name in typed or (name.startswith(OF_THE_HEAD) and not with_head):
            continue
        put(settled, name, said.value)
        sources[name] = (said.value, said.where)
    if with_head and foreign.bounds is not None:
        bounds = settled["data"]["bounds"]
        for component in settled["data"]["components"]:
            if component not in bounds:
                bounds[component] = list(foreign.bounds)
                sources[f"data.bounds.{component}"] = (bounds[component], "its program clips actions to them")
    return settled, sources


def _change_backbone(model: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Without the settings that only the backbone has that was composed, where the file is of another."""
    if model.get("name", BACKBONES.default) == name:
        return dict(model)
    kept = {part.name for part in fields(ModelConfig)} - {"prompt", "architecture"}
    return {key: value for key, value in model.items() if key in kept} | {"architecture": {}}


def has(values: Mapping[str, Any], name: str) -> bool:
    *groups, last = name.split(".")
    for group in groups:
        values = values.get(group) or {}
        if not isinstance(values, Mapping):
            return False
    return last in values


def find(values: Mapping[str, Any], name: str) -> Any:
    for part in name.split("."):
        values = values[part]
    return values


def put(values: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        values = values[group]
    values[last] = copy.deepcopy(value)
