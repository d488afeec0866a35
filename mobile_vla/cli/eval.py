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
    from mobile_vla.data.dataset import Progress
    from mobile_vla.opening.stored_run import HeldOut, StoredRun

PARTS = ("validation", "test")
MACHINE = ("trainer.accelerator=", "trainer.precision=")


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open every run and find its episodes; the job evaluates one run after the other."""
    from mobile_vla.jobs.importing import importing_libraries
    from mobile_vla.jobs.progress import show_steps

    with importing_libraries():
        from mobile_vla.checkpoints.choosing import START
        from mobile_vla.evaluation.spread import summarize
        from mobile_vla.opening.assessment import assess

    if config["split"] not in (None, *PARTS):
        raise UserError(f"split={config['split']}: expected one of {', '.join(PARTS)}")
    if config["checkpoint"] == START:
        raise UserError(
            "checkpoint=start: before training the head predicts at random, so its loss is meaningless; expected best, "
            "last or a file (probe takes start; the baselines are what a policy without its inputs would score)"
        )
    with show_steps(enabled=context.rank == 0) as progress:
        opened = [_open(run, context, progress, several=len(context.runs) > 1) for run in context.runs]
    for stored, _ in opened:
        if stored.note:
            print(f"{stored.folder.name}: {stored.note}")

    def run(out: Path) -> Report:
        found = []
        folders = _name_folders(out, [stored.folder for stored, _ in opened])
        with show_steps(enabled=context.rank == 0) as progress:
            for (stored, held), folder in zip(opened, folders, strict=True):
                folder.mkdir(exist_ok=True)
                found.append(assess(stored, held, folder, progress))
        part = opened[0][1].part or "other"
        if len(found) == 1:
            return Report(payload=found[0], table=_table(found[0], part, opened[0][0].folder))
        summary = summarize(found, _tell_differences(context.runs, opened))
        return Report(payload=summary, table=_table_of_several(summary, part))

    return Job(run=run)


def _open(run: SavedRun, context: Context, progress: "Progress", several: bool) -> tuple["StoredRun", "HeldOut"]:
    from mobile_vla.data.dataset import DataConfig
    from mobile_vla.opening.stored_run import StoredRun
    from mobile_vla.settings.typed import build
    from mobile_vla.training.config import TrainConfig

    settings = {key: value for key, value in run.config.items() if key not in ("checkpoint", "split")}
    try:
        stored = StoredRun.open(
            run.folder,
            build(TrainConfig, settings),
            str(run.config["checkpoint"]),
            trained_on=build(DataConfig, run.saved["data"], "data"),
            insist_on_machine=any(text.startswith(MACHINE) for text in context.overrides),
        )
        if stored.untrained_head:
            raise UserError(
                f"run={run.folder} was imported from a file without an action head: its predictions are random "
                "until it is trained; train run= it first, or probe its contexts"
            )
        part = run.config["split"] or (None if stored.reads_other_files else "validation")
        return stored, stored.held_out(part, progress)
    except UserError as error:
        if several:
            raise UserError(f"run {run.folder}: {error}") from error
        raise


def _name_folders(out: Path, runs: list[Path]) -> list[Path]:
    """Where the figures of each run go: one run's into `out`, those of several into folders called by the runs."""
    if len(runs) == 1:
        return [out]
    names = [run.name for run in runs]
    unique = len(set(names)) == len(names)
    return [out / (name if unique else f"{index}_{name}") for index, name in enumerate(names)]


def _tell_differences(runs: tuple[SavedRun, ...], opened: "list[tuple[StoredRun, HeldOut]]") -> list[str]:
    """What a spread includes besides the runs' seeds, in words."""
    from mobile_vla.runs.settings import flatten

    notes = []
    judged = [{episode.fingerprint for episode in held.episodes} for _, held in opened]
    if any(episodes != judged[0] for episodes in judged):
        notes.append(
            "The runs are judged on different episodes: the spread includes the difference between the episodes."
        )
    trained = [{run.split.recorded[id].fingerprint for id in run.split.parts["train"]} for run, _ in opened]
    if any(episodes != trained[0] for episodes in trained):
        notes.append(
            "The runs were trained on different episodes: the spread includes the difference between their data."
        )
    plain = [{name: str(value) for name, value in flatten(run.saved)} for run in runs]
    names = sorted({name for values in plain for name in values})
    differing = [name for name in names if len({values.get(name) for values in plain}) > 1]
    other = [
        name for name in differing if name != "seed" and not name.startswith(("data.root", "data.pack", "logger."))
    ]
    if other:
        notes.append(f"The runs differ in more than their seed ({', '.join(other[:4])}): the spread includes both.")
    if len({values.get("seed") for values in plain}) < len(plain):
        notes.append(
            "Several runs have the same seed, so their trainings are not independent: the spread may be too small."
        )
    return notes


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
