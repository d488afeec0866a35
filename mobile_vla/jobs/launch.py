"""One command line, from its arguments to its exit code.

In: a command, the arguments after its name, the folder of configuration files. The order is what keeps promises:
flags, saved configuration, every override of every job, the composed values, the command's own checks, and only
then an output folder. `sys.argv` stays as it was typed: Lightning starts other ranks with it.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mobile_vla.core.errors import UserError
from mobile_vla.core.file_names import make_file_name
from mobile_vla.jobs.claim import Claim
from mobile_vla.jobs.command import Command, SavedRun
from mobile_vla.jobs.listener import Listener, Terminal
from mobile_vla.jobs.output import name_run, take_default, take_out
from mobile_vla.jobs.ranks import find_rank, is_one_of_several
from mobile_vla.jobs.sweeping import expand, run_once, run_sweep
from mobile_vla.jobs.task import Task, find_out
from mobile_vla.settings.composing import check_words, compose_plain, settle
from mobile_vla.settings.composition import Composition, explain
from mobile_vla.settings.flags import parse_flags
from mobile_vla.settings.overrides import OverrideCheck, check_form
from mobile_vla.settings.saved import Saved, take_saved


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a command line says, read and checked as far as its form goes."""

    command: Command
    flags: argparse.Namespace
    typed: tuple[str, ...]
    saved: Saved | None
    others: tuple[Saved, ...]  # further runs, where run= names several
    sweep: bool


def launch(command: Command, arguments: Sequence[str], conf: Path, listener: Listener | None = None) -> int:
    """Do what the command line says; the exit code. A UserError where it cannot be done.

    listener: who learns how it ends, instead of the terminal
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra shortens no traceback and exits nowhere
    flags = parse_flags(arguments)
    for argument in flags.overrides:
        check_form(argument)
    sweep = flags.multirun or any(text.upper() == "HYDRA.MODE=MULTIRUN" for text in flags.overrides)
    named, typed = take_saved(command.saved, flags.overrides)
    _check_number(command, flags, sweep, len(named))
    saved = named[0] if named else None
    call = Call(command=command, flags=flags, typed=tuple(typed), saved=saved, others=named[1:], sweep=sweep)
    others = tuple(_compose_run(call, other, conf) for other in call.others)
    with Composition(conf, flags.config_name or command.name, flags.config_dir) as composition:
        if saved is not None:
            values = saved.fill_optional(command.optional)
            composition.use_saved(values, fill_groups="config" not in command.saved)
        check = OverrideCheck(composition, words=command.own_words)
        if sweep:
            return _sweep(call, composition, check)
        overrides = check_words(check, typed)
        if flags.cfg:
            return _show(call, composition, overrides)
        overrides += settle(overrides, "RUN")
        task = Task(
            command=command, typed=call.typed, saved=saved, others=others, listener=listener or Terminal(command.names)
        )
        return run_once(composition, task, overrides)


def _check_number(command: Command, flags: argparse.Namespace, sweep: bool, number: int) -> None:
    """A UserError where there are more runs than can be meant, or none where one is needed."""
    if command.needs_run and not number:
        raise UserError("missing setting 'run': give run=<a run's folder>")
    if number > 1 and not command.several:
        raise UserError(f"run= names {number} runs: {command.name} takes one")
    if number > 1 and (sweep or flags.cfg):
        what = "--multirun" if sweep else "--cfg"
        raise UserError(f"{what} goes with one run, and run= names {number}: give one, run=<folder>")


def _compose_run(call: Call, saved: Saved, conf: Path) -> SavedRun:
    """A further run's own configuration, with the same overrides."""
    assert saved.run_folder is not None
    with Composition(conf, call.command.name, call.flags.config_dir) as composition:
        composition.use_saved(saved.values, fill_groups="config" not in call.command.saved)
        try:
            config = compose_plain(composition, call.typed, call.command.own_words)
        except UserError as error:
            raise error.but(where=f"run {saved.run_folder}") from error
    return SavedRun(folder=saved.run_folder, config=config, saved=saved.resolve())


def _show(call: Call, composition: Composition, overrides: list[str]) -> int:
    flags = call.flags
    shown = composition.compose(overrides + settle(overrides, "RUN"))
    HydraConfig.instance().set_config(shown)
    with open_dict(shown):
        for name in [*shown] if flags.cfg != "all" else []:
            if (name == "hydra") != (flags.cfg == "hydra"):
                del shown[name]
    part = None if flags.package in (None, "_global_") else flags.package
    found = shown if part is None else OmegaConf.select(shown, part)
    if found is None:
        raise UserError(f"--package={part}: the configuration has no such part")
    if not OmegaConf.is_config(found):
        print(found)
        return 0
    if flags.resolve:
        try:
            OmegaConf.resolve(found)
        except OmegaConfBaseException as error:
            raise explain(error) from error
    print("" if part is None else f"# @package {part}\n", OmegaConf.to_yaml(found), sep="", end="")
    return 0


def _sweep(call: Call, composition: Composition, check: OverrideCheck) -> int:
    for key in ("out", "name"):
        for text in call.typed:
            if text.startswith(f"{key}=") and any(o.is_sweep_override() for o in composition.parse([text])):
                raise UserError(f"{text}: a sweep has one {key}; each of its jobs gets a folder inside it")
    swept = expand(composition.parse(call.typed))
    for job in swept:
        check.check(job)
    first = composition.compose(
        [*check.add_to_tables(swept[0], swept[0]), *settle(call.typed, "MULTIRUN")], RunMode.MULTIRUN
    )
    parent = _take_parent(call, first)
    try:
        return _run_jobs(call, composition, check, swept, parent.out if isinstance(parent, Claim) else parent)
    finally:
        if isinstance(parent, Claim):
            parent.release()


def _run_jobs(call: Call, composition: Composition, check: OverrideCheck, swept: list[list[str]], parent: Path) -> int:
    task = Task(
        command=call.command, typed=call.typed, saved=call.saved, parent=parent, listener=Terminal(call.command.names)
    )
    overrides = [*check.add_to_tables(call.typed, swept[0]), *settle(call.typed, "MULTIRUN", parent)]
    return task.conclude(run_sweep(composition, task, overrides))


def _take_parent(call: Call, composed: DictConfig) -> Claim | Path:
    """The sweep's folder, which rank 0 takes."""
    out = find_out(composed)
    if out is None and is_one_of_several():
        raise UserError("one of several processes: give out=<folder>, so that all of them share it")
    if out is None:
        name = OmegaConf.select(composed, "name")
        chosen = make_file_name(str(name)) if name else f"sweep_{name_run(call.typed)}"
        return take_default(call.command.name, chosen)
    return take_out(out) if find_rank() == 0 else out
