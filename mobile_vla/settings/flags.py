"""The flags and the settings of a command line, told apart; a wrong flag is one line.

The flags are those of Hydra's that make sense here, under the same names.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import suggest, suggest_neighbour

REFUSED = {
    "--experimental-rerun": "reads a pickle, which is unsafe: repeat a run with config=<run>/config.yaml",
    "--config-path": "the command knows its folder; --config-dir=<folder> adds another",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        prefix = "unrecognized arguments: "
        if not message.startswith(prefix):
            raise UserError(message)
        flag = message.removeprefix(prefix).split()[0].partition("=")[0]
        if flag in REFUSED:
            raise UserError(f"{flag}: {REFUSED[flag]}")
        known = [name for action in self._actions for name in action.option_strings]
        raise UserError(f"unknown flag '{flag}'{suggest(flag, known)}")


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """`overrides`, `multirun`, `run`, `cfg`, `resolve`, `package`, `config_name` and `config_dir` (absolute)."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    parser.add_argument("--run", "-r", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--config-dir", "-cd")
    flags = parser.parse_intermixed_args(list(arguments))
    if flags.resolve and flags.cfg is None:
        raise UserError("--resolve goes with --cfg")
    given = [f"--{name}" for name in ("run", "multirun", "cfg") if getattr(flags, name)]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other")
    if flags.config_dir is not None:
        folder = Path(os.path.abspath(Path(flags.config_dir).expanduser()))
        if not folder.is_dir():
            raise UserError(f"--config-dir={flags.config_dir}: there is no such folder{suggest_neighbour(folder)}")
        flags.config_dir = folder
    return flags
