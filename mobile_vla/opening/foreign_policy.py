"""A policy's file from elsewhere, with what its user says about it: what `import` writes and `doctor` examines.

In: the file, all settings, and which of them were given. Out: an `Import` that was found valid, with its configuration.
What the file says of itself goes before what was composed, and what was given before both; what only its user knows is
asked for by name.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mobile_vla.settings.typed import build

if TYPE_CHECKING:  # importing stored arrays needs no torch
    from mobile_vla.checkpoints.foreign import Foreign
    from mobile_vla.checkpoints.foreign_settings import Load
    from mobile_vla.opening.importing import Import

MISSING_ROOT = "???"  # of an imported run: asked for by name when something is done with it


@dataclass(frozen=True, kw_only=True)
class ForeignConfig:
    """What comes in. load: `backbone` leaves the file's head; trust: the file may run what it asks for."""

    path: Path
    load: Literal["all", "backbone"] = "all"
    trust: bool = False


WORDS = tuple(ForeignConfig.__dataclass_fields__)  # settings beside those of the policy


@dataclass(frozen=True, kw_only=True)
class Settled:
    """config: plain values;  sources: of each setting that matters its value, and where it came from."""

    found: "Import"
    config: dict[str, Any]
    sources: dict[str, dict[str, Any]]


def settle_foreign(foreign: "Foreign", values: Mapping[str, Any], given: Collection[str], load: "Load") -> Settled:
    """values: the settings without `WORDS`;  given: dotted names of those that the user gave.

    `UserError` for what is missing or does not fit.
    """
    from mobile_vla.checkpoints.foreign_settings import settle
    from mobile_vla.opening.importing import Import
    from mobile_vla.training.config import TrainConfig

    plain, sources = settle(foreign, values, given, load)
    weights = Path(str(plain["model"]["weights"])).expanduser()
    if weights.exists():
        plain["model"]["weights"] = str(weights.absolute())
    said = {name: {"value": value, "from": where} for name, (value, where) in sources.items()}
    return Settled(found=Import.prepare(foreign, build(TrainConfig, plain), load), config=plain, sources=said)
