"""`mobile-vla eval`: what a run's checkpoint is worth on episodes that it was not trained on.

In: a run, or several, and which episodes. Out: `eval.json` with metrics, baselines, effects and intervals over
episodes, and figures; for several runs also the spread between them, each run's figures in a folder of its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.cli.tables.findings import rows_of_findings, rows_of_model, rows_of_notes, rows_of_spread
from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Command, Context, Job, Report, SavedRun

if TYPE_CHECKING:
    from mobile_vla.opening.stored_run import StoredRun


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open every run and find its episodes; the job evaluates one run after the other."""
    from mobile_vla.jobs.importing import importing_libraries
    from mobile_vla.jobs.progress import show_steps

    with importing_libraries():
        from mobile_vla.opening.evaluation import Evaluation, check_wanted

    check_wanted(config["split"], config["checkpoint"])
    with show_steps(enabled=context.rank == 0) as progress:
        runs = [_open(run, context) for run in context.runs]
        evaluation = Evaluation.open(runs, config["split"], [run.saved for run in context.runs], progress)
    for stored in runs:
        for note in stored.notes:
            print(f"{stored.folder.name}: {note}")

    def run(out: Path) -> Report:
        with show_steps(enabled=context.rank == 0) as progress:
            found = evaluation.run(out, progress)
        if len(runs) == 1:
            return Report(payload=found, table=_table(found, evaluation.part, runs[0].folder))
        return Report(payload=found, table=_table_of_several(found, evaluation.part))

    return Job(run=run)


def _open(run: SavedRun, context: Context) -> "StoredRun":
    from mobile_vla.opening.place import open_run_as

    settings = {key: value for key, value in run.config.items() if key not in ("checkpoint", "split")}
    checkpoint = str(run.config["checkpoint"])
    try:
        return open_run_as(run.folder, settings, run.saved, checkpoint, context.insists_on_machine)
    except UserError as error:
        raise error.but(where=f"run {run.folder}") if len(context.runs) > 1 else error from None


def _table(found: Mapping[str, Any], part: str, run: Path) -> list[tuple[str, str]]:
    return [
        *rows_of_findings(found, found["loss"], part),
        *rows_of_model(found, run),
        *rows_of_notes(found["warnings"]),
    ]


def _table_of_several(found: Mapping[str, Any], part: str) -> list[tuple[str, str]]:
    own = [f"{Path(run['run']).name}: {line}" for run in found["runs"] for line in run["warnings"]]
    return [*rows_of_spread(found, part), *rows_of_notes([*found["warnings"], *own])]


COMMAND = Command(
    name="eval",
    summary="Tells what a run is worth on episodes that it was not trained on.",
    examples=(
        "mobile-vla eval run=runs/train/2026-01-31_09-00-00_demo",
        "mobile-vla eval run=runs/train/2026-01-31_09-00-00_demo split=test checkpoint=last",
        "mobile-vla eval run=runs/train/2026-01-31_09-00-00_demo data.root=other_episodes",
        "mobile-vla eval run=runs/train/2026-01-31_09-00-00_demo data.root=moved_episodes split=validation",
        "mobile-vla eval run=[runs/train/seed_0,runs/train/seed_1,runs/train/seed_2] split=test",
    ),
    prepare=prepare,
    saved=("run",),
    several=True,
    needs_run=True,
)
