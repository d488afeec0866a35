"""`mobile-vla train`: a fine-tune in a run folder, from episodes to a checkpoint, TensorBoard and `train.json`.

In: the settings of `conf/train.yaml`. Out: the run's folder, with `config.yaml` from which it can be repeated.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.cli.tables.findings import rows_of_findings, rows_of_model, rows_of_notes
from mobile_vla.core.errors import Interrupted, UserError
from mobile_vla.jobs.command import Command, Context, Job, Report

if TYPE_CHECKING:
    from mobile_vla.core.batch import Batch
    from mobile_vla.models.policy import Policy

PATHS = (("data", "root"), ("data", "labels"), ("model", "weights"))  # may name a file or folder
FOLDERS = (("data", "pack_dir"), ("cache", "dir"))  # do, and are made where they are not there yet


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Check settings, machine, model and data; the job trains."""
    from mobile_vla.jobs.importing import importing_libraries
    from mobile_vla.jobs.progress import show_steps

    with importing_libraries():
        from mobile_vla.jobs.ranks import refuse_sweep_over_ranks
        from mobile_vla.settings.saved import write_config
        from mobile_vla.settings.typed import build
        from mobile_vla.training.config import TrainConfig
        from mobile_vla.training.run import Training

    for group, key in PATHS:
        config[group][key] = _absolute(config[group][key])
    for group, key in FOLDERS:
        if isinstance(config[group][key], str):
            config[group][key] = str(Path(config[group][key]).expanduser().absolute())
    config["start"] = _absolute(config["start"])
    settings = build(TrainConfig, config)
    refuse_sweep_over_ranks(context, settings.trainer.num_devices, settings.trainer.strategy)
    shown = context.rank == 0
    with show_steps(enabled=shown) as progress:
        training = Training.prepare(settings, config, context.run_folder, progress)
    if shown:
        print("\n".join(training.describe()))

    def run(out: Path) -> Report:
        with show_steps(enabled=shown) as progress:
            try:
                check = _make_check(settings.doctor.refuse, shown)
                findings = training.run(out, lambda file: write_config(config, file), progress, check)
            except Interrupted as stop:
                raise Interrupted(f"{stop}; go on with: mobile-vla train run={_short(out)}", stop.signum) from None
        return Report(payload=findings, table=_table(findings, out) if findings else ())

    return Job(run=run, folder=context.run_folder)


def _make_check(refuse: bool, shown: bool) -> "Callable[[Policy, Batch], None]":
    """What is done about an input that is not wired: a `UserError`, or a line."""
    from mobile_vla.doctor.examination import check_wiring

    def check(policy: "Policy", batch: "Batch") -> None:
        found = [finding for finding in check_wiring(policy, batch) if finding.severity == "error"]
        if found and refuse:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise UserError(f"{found[0].line}{more}; to train all the same, doctor.refuse=false")
        if shown:
            for finding in found:
                print(f"not wired: {finding.line}", flush=True)

    return check


def _absolute(value: Any) -> Any:
    """Existing paths made absolute, so that the stored configuration means the same everywhere; other words stay."""
    if isinstance(value, list):
        return [_absolute(entry) for entry in value]
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    return str(path.absolute()) if path.exists() or value.startswith(("~", ".", "/")) else value


def _table(found: Mapping[str, Any], out: Path) -> list[tuple[str, str]]:
    """What came out, and where to look further."""
    return [
        *rows_of_findings(found, found["val_loss"], "validation"),
        *rows_of_model(found, out),
        ("memory", f"{found['memory_bytes'] / 2**30:.1f} GiB at its peak"),
        *rows_of_notes(found["warnings"]),
        ("TensorBoard", f"{_tensorboard()} --logdir {_short(find_logdir(out))}"),
    ]


def find_logdir(out: Path) -> Path:
    """The folder of all commands, where `out` is where trainings go by default: its probes are there too."""
    return out.parent.parent if out.parent.name == COMMAND.name else out.parent


def _tensorboard() -> str:
    """The command beside this Python: what is typed works without activating an environment."""
    beside = Path(sys.executable).with_name("tensorboard")
    return _short(beside) if beside.exists() else "tensorboard"


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


COMMAND = Command(
    name="train",
    summary="Fine-tunes a policy on a folder of episodes.",
    examples=(
        "mobile-vla train data.root=episodes model=kosmos2 experiment=mobile_vla_lora trainer=gpu",
        "mobile-vla train data.root=episodes experiment=demo",
        "mobile-vla train data.root=[day1,day2] model.weights=~/kosmos-2 model/lora=text trainer.max_epochs=20",
        "mobile-vla train run=runs/train/2026-01-31_09-00-00_demo trainer.max_epochs=12",
        "mobile-vla train config=runs/train/2026-01-31_09-00-00_demo/config.yaml seed=1",
        "mobile-vla train --multirun data.root=episodes experiment=demo seed=0,1,2",
    ),
    prepare=prepare,
    saved=("run", "config"),
)
