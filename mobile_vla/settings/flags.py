"""Hydra's flags and the settings of a command line, told apart; a wrong flag is one line."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import suggest, suggest_neighbour


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Hydra's namespace: `overrides`, `multirun`, `cfg`, `info`, `config_dir` (absolute) and the others."""
    parser = get_args_parser()
    known = [flag for action in parser._actions for flag in action.option_strings]

    def fail(message: str) -> NoReturn:
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            flag = message.removeprefix(prefix).split()[0]
            raise UserError(f"unknown flag '{flag}'{suggest(flag.partition('=')[0], known)}")
        raise UserError(message)

    parser.error = fail  # type: ignore[method-assign]
    parser.allow_abbrev = False
    flags = parser.parse_intermixed_args(list(arguments))
    if flags.experimental_rerun is not None:
        raise UserError(
            "--experimental-rerun reads a pickle, which is unsafe: repeat a run with config=<run>/config.yaml"
        )
    if flags.config_path is not None:
        raise UserError("--config-path: the command knows its folder; --config-dir=<folder> adds another")
    if flags.resolve and flags.cfg is None:
        raise UserError("--resolve goes with --cfg")
    modes = {
        "--run": flags.run,
        "--multirun": flags.multirun,
        "--cfg": flags.cfg,
        "--info": flags.info,
        "--shell-completion": flags.shell_completion,
    }
    given = [name for name, value in modes.items() if value]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other")
    if flags.config_dir is not None:
        folder = Path(os.path.abspath(Path(flags.config_dir).expanduser()))
        if not folder.is_dir():
            raise UserError(f"--config-dir={flags.config_dir}: there is no such folder{suggest_neighbour(folder)}")
        flags.config_dir = folder
    return flags
