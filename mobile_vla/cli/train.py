"""`mobile-vla train`: a fine-tune in a run folder, from episodes to a checkpoint, TensorBoard and `train.json`.

In: the settings of `conf/train.yaml`. Out: the run's folder, with `config.yaml` from which it can be repeated.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobile_vla.cli.tables.findings import rows_of_findings, rows_of_model, rows_of_notes
from mobile_vla.core.errors import Interrupted
from mobile_vla.jobs.command import Command, Context, Job, Report


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Check settings, machine, model and data; the job trains."""
    from mobile_vla.jobs.importing import importing_libraries

    with importing_libraries():
        from mobile_vla.api.training import prepare as prepare_training

    job = prepare_training(config, context)

    def run(out: Path) -> Report:
        try:
            report = job.run(out)
        except Interrupted as stop:
            raise Interrupted(f"{stop}; go on with: mobile-vla train run={_short(out)}", stop.signum) from None
        return replace(report, table=_table(report.payload, out)) if report.payload else report

    return replace(job, run=run)


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
