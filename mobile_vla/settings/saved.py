"""The configuration that a run saved: `run=<folder>` and `config=<file>`, read before Hydra composes.

In: the arguments as typed. Out: the saved configuration, and the other arguments. A saved configuration is
resolved: plain values in one file, without defaults list, alone enough to repeat the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mobile_vla.core.durable import write_text
from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import suggest_neighbour
from mobile_vla.settings.literal import escape_interpolation, read_list, read_text, write_list

FILE = "config.yaml"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A configuration file that was read. `run_folder` is None where only the file was named."""

    file: Path
    values: dict[str, Any]
    run_folder: Path | None = None

    def resolve(self) -> dict[str, Any]:
        """The values as they were meant: plain, escapes undone."""
        resolved = OmegaConf.to_container(OmegaConf.create(self.values), resolve=True)
        assert isinstance(resolved, dict)
        return {str(key): value for key, value in resolved.items()}

    def fill_optional(self, optional: Sequence[str]) -> dict[str, Any]:
        """The values, with null for those of these dotted settings that are still to be given."""
        filled = OmegaConf.create(self.values)
        for name in optional:
            if OmegaConf.is_missing(OmegaConf.select(filled, name.rpartition(".")[0]), name.rpartition(".")[2]):
                OmegaConf.update(filled, name, None)
        values = OmegaConf.to_container(filled)
        assert isinstance(values, dict)
        return {str(key): value for key, value in values.items()}


def take_saved(words: Sequence[str], arguments: Sequence[str]) -> tuple[tuple[Saved, ...], list[str]]:
    """The configurations that `run=` or `config=` names, and the other arguments; `words` says which are taken."""
    given: dict[str, str] = {}
    rest = []
    for argument in arguments:
        word, equals, value = argument.partition("=")
        if equals and word in words:
            if word in given:
                raise UserError(f"is given twice: '{given[word]}' and '{value}'", argument=word)
            if value not in ("", "null"):
                given[word] = value
        else:
            rest.append(argument)
    if len(given) > 1:
        raise UserError("continues a run and config repeats one in a new folder: give one of the two", argument="run")
    if "run" in given:
        return read_runs(given["run"]), rest
    if "config" in given:
        text = read_text(given["config"])
        file = Path(text).expanduser().absolute()
        if file.is_dir():
            raise UserError(f"is a folder: expected a file, {file / FILE}", argument="config", value=text)
        return (Saved(file=file, values=read_config(file, "config", text)),), rest
    return (), rest


def read_runs(text: str) -> tuple[Saved, ...]:
    """The saved configuration of a run's folder, or of each folder of a list, `[A,B,C]`."""
    folders: list[str] | None = [read_text(text)]
    if text.startswith("[") and not Path(text).is_dir():
        folders = read_list(text)
        if folders is None or not folders:
            raise UserError("expected a folder, or a list of folders: [A,B,C]", argument="run", value=text)
    runs = tuple(read_run(folder) for folder in folders)
    real = [run.file.resolve().parent for run in runs]
    twice = [folder for index, folder in enumerate(real) if folder in real[:index]]
    if twice:
        raise UserError(f"names {twice[0]} twice: its numbers would count twice", argument="run", value=text)
    return runs


def read_run(text: str) -> Saved:
    """The saved configuration of a run's folder."""
    folder = Path(text).expanduser().absolute()
    if folder.is_file():
        raise UserError("is a file: expected the folder of a run", argument="run", value=text)
    if not folder.is_dir():
        parts = text.split(",")
        if len(parts) > 1 and all(Path(part).expanduser().is_dir() for part in parts):
            raise UserError(f"several runs are a list: run={write_list(parts)}", argument="run", value=text)
        raise UserError(f"there is no such folder{suggest_neighbour(folder)}", argument="run", value=text)
    if not (folder / FILE).is_file():
        inside = sorted(file.parent for file in folder.glob(f"*/{FILE}"))
        hint = f"; it holds runs: run={write_list([str(Path(text) / run.name) for run in inside])}" if inside else ""
        raise UserError(f"is not a run: the folder holds no {FILE}{hint}", argument="run", value=text)
    return Saved(file=folder / FILE, values=read_config(folder / FILE, "run", text), run_folder=folder)


def read_config(file: Path, argument: str, value: str) -> dict[str, Any]:
    """The values of a saved configuration, not yet resolved; argument, value: how it was named, for errors."""
    try:
        text = file.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
        if isinstance(values, dict):  # OmegaConf makes settings of a mere word, too
            values = OmegaConf.to_container(OmegaConf.create(text))
    except FileNotFoundError:
        raise UserError(f"there is no such file{suggest_neighbour(file)}", argument=argument, value=value) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", argument=argument, value=value) from error
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        what = f"{file.name} is not a configuration: {str(error).splitlines()[0]}"
        raise UserError(what, argument=argument, value=value) from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values) or not values:
        what = f"{file.name} is not a configuration: expected settings by name"
        raise UserError(what, argument=argument, value=value)
    if "defaults" in values or "hydra" in values:
        raise UserError(
            f"{file.name} is not a run's saved configuration: it is still to be composed from groups "
            "(use --config-dir=<its folder> --config-name=<its name>)",
            argument=argument,
            value=value,
        )
    return {str(key): part for key, part in values.items()}


def write_config(values: Mapping[str, Any], file: Path) -> None:
    """Save a resolved configuration (plain values, absolute paths) so that `run=` and `config=` read it back."""
    write_text(file, OmegaConf.to_yaml(OmegaConf.create(_plain(values))))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, str | Path):
        return escape_interpolation(str(value))
    return value
