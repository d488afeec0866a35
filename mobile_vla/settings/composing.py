"""From settings as they are typed (`model=tiny`, `trainer.max_epochs=3`) to plain values, checked one by one.

In: a command's name, words, the folder of configuration files. Out: a dictionary; OmegaConf goes no further.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mobile_vla.core.errors import UserError
from mobile_vla.settings.composition import Composition
from mobile_vla.settings.conf_folder import find_conf_folder
from mobile_vla.settings.literal import quote
from mobile_vla.settings.overrides import OverrideCheck, quote_literal
from mobile_vla.settings.tree import list_missing, make_tree

OUTPUT = ("out", "name")  # words of every command: where its results go


def compose_values(name: str, words: Sequence[str], own: Collection[str] = OUTPUT) -> dict[str, Any]:
    """The settings of `conf/<name>.yaml` as these words compose them, without those that are `own` to the command."""
    with Composition(find_conf_folder(), name) as composition:
        return compose_plain(composition, words, own)


def compose_plain(composition: Composition, words: Sequence[str], own: Collection[str]) -> dict[str, Any]:
    """As `compose_values`, of a composition that is open."""
    overrides = check_words(OverrideCheck(composition, words=tuple(own)), words)
    composed = composition.compose(overrides + settle(overrides, "RUN"))
    with open_dict(composed):
        del composed["hydra"]
    return {key: value for key, value in resolve(composed).items() if key not in own}


def check_words(check: OverrideCheck, words: Sequence[str]) -> list[str]:
    """The overrides of a job outside a sweep, in Hydra's grammar and found valid."""
    overrides = [quote_literal(text) for text in words]
    check.check(overrides)
    return check.add_to_tables(overrides, overrides)


def settle(overrides: Sequence[str], mode: str, parent: Path | None = None) -> list[str]:
    """The overrides that keep Hydra from writing, logging and changing directories; last, so that they hold."""
    settled = [
        f"hydra.mode={mode}",
        "hydra.run.dir=.",
        f"hydra.sweep.dir={quote(str(parent or '.'))}",
        "hydra.sweep.subdir=.",
        "hydra.output_subdir=null",
        "hydra.job.chdir=false",
    ]
    for group in ("hydra/job_logging", "hydra/hydra_logging"):
        if not any(text.startswith(f"{group}=") for text in overrides):
            settled.append(f"{group}=none")
    return settled


def resolve(composed: DictConfig) -> dict[str, Any]:
    """Plain values; a UserError for a mandatory setting without one, and for an interpolation to nowhere."""
    missing = list_missing(make_tree(composed))
    if missing:
        raise UserError(f"missing setting '{missing[0]}': give {missing[0]}=<value>")
    try:
        values = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        where = f"'{key}': " if key else ""
        raise UserError(f"setting {where}{str(error).splitlines()[0]}") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
