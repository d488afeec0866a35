"""A policy's file from elsewhere, with what was typed about it: what `import` writes and `doctor` examines.

In: the words `path`, `load` and `trust`, all other settings, and the command line. Out: an `Import` that was found
valid, with its configuration. What the file says of itself goes before what was composed, and what was typed before
both; what only its user knows is asked for by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mobile_vla.checkpoints.foreign import Foreign
    from mobile_vla.checkpoints.foreign_settings import Load
    from mobile_vla.opening.importing import Import

WORDS = ("path", "load", "trust")
MISSING_ROOT = "???"  # of an imported run: asked for by name when something is done with it


@dataclass(frozen=True, kw_only=True)
class ForeignConfig:
    """What comes in. load: `backbone` leaves the file's head; trust: the file may run what it asks for."""

    path: Path
    load: Literal["all", "backbone"] = "all"
    trust: bool = False


@dataclass(frozen=True, kw_only=True)
class Settled:
    """config: plain values;  sources: of each setting that matters its value, and where it came from."""

    found: "Import"
    config: dict[str, Any]
    sources: dict[str, dict[str, Any]]


def settle_foreign(foreign: "Foreign", values: Mapping[str, Any], overrides: Sequence[str], load: "Load") -> Settled:
    """values: the settings without `WORDS`;  overrides: as typed. `UserError` for what is missing or does not fit."""
    from mobile_vla.checkpoints.foreign_settings import settle
    from mobile_vla.opening.importing import Import
    from mobile_vla.settings.typed import build
    from mobile_vla.training.config import TrainConfig

    typed = {text.lstrip("+").partition("=")[0] for text in overrides}
    plain, sources = settle(foreign, values, typed, load)
    weights = Path(str(plain["model"]["weights"])).expanduser()
    if weights.exists():
        plain["model"]["weights"] = str(weights.absolute())
    said = {name: {"value": value, "from": where} for name, (value, where) in sources.items()}
    return Settled(found=Import.prepare(foreign, build(TrainConfig, plain), load), config=plain, sources=said)
