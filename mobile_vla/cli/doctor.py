"""`mobile-vla doctor`: is it wired? What each input of a policy can change, and what is wrong where it changes nothing.

In: a run, a checkpoint of ours or from elsewhere, or the settings of a model; with episodes or without. Out:
`doctor.json` with findings, sensitivities and the map of the sequence, two figures, and a table. Findings are results:
the exit code is 0.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Command, Context, Job, Report

if TYPE_CHECKING:
    from mobile_vla.doctor.case import Case
    from mobile_vla.doctor.examination import Examined
    from mobile_vla.doctor.finding import Finding
    from mobile_vla.opening.foreign_policy import ForeignConfig

WIRING = "inputs are replaced by random ones, unlike any data: this tests wiring; how much is used, eval measures"
NOWHERE = "."  # a folder that is never opened: settings of data need one


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open what is examined; the job examines."""
    from mobile_vla.jobs.importing import importing_libraries

    with importing_libraries():
        from mobile_vla.doctor.examination import examine
        from mobile_vla.doctor.figures import save_figures

    case = _open(config, context)

    def run(out: Path) -> Report:
        from mobile_vla.jobs.progress import show_steps

        with show_steps() as progress:
            found = examine(case, progress)
        save_figures(found, out)
        print("\n".join(found.sequence.draw()))
        print("T text  I image  A action token  S special  . padding; | can be attended to\n")
        return _report(case, found)

    return Job(run=run)


def _open(config: dict[str, Any], context: Context) -> "Case":
    from mobile_vla.data.dataset import names_episodes
    from mobile_vla.doctor.case import Case
    from mobile_vla.opening.configuration import Configuration
    from mobile_vla.opening.foreign_policy import WORDS, ForeignConfig
    from mobile_vla.opening.place import open_run_as
    from mobile_vla.settings.typed import build
    from mobile_vla.training.config import TrainConfig

    settings = {key: value for key, value in config.items() if key not in ("checkpoint", *WORDS)}
    with_data = names_episodes(settings["data"])
    if config["path"] is not None:
        if context.runs:
            raise UserError("path= and run= name two different things to examine: give one of the two")
        return _open_file(build(ForeignConfig, {key: config[key] for key in WORDS}), settings, context)
    of_files = [text for text in context.overrides if text.startswith(("load=", "trust="))]
    if of_files:
        raise UserError(f"{of_files[0]} is of a checkpoint's file: give path=<file> as well")
    settings = _with_root(settings)
    if context.runs:
        run, checkpoint = context.runs[0], str(config["checkpoint"])
        return Case.of(open_run_as(run.folder, settings, run.saved, checkpoint, context.insists_on_machine), with_data)
    if config["checkpoint"] != "best":
        raise UserError("is a run's: give run=<folder> as well", argument="checkpoint", value=config["checkpoint"])
    return Case.of(Configuration.open(build(TrainConfig, settings)), with_data)


def _open_file(given: "ForeignConfig", settings: dict[str, Any], context: Context) -> "Case":
    """A checkpoint of ours says itself how it was trained; of another the user must say what it does not."""
    from mobile_vla.checkpoints.foreign import open_foreign
    from mobile_vla.checkpoints.trained import read_checkpoint
    from mobile_vla.data.dataset import names_episodes
    from mobile_vla.doctor.case import Case
    from mobile_vla.opening.checkpoint_file import CheckpointFile
    from mobile_vla.opening.foreign_policy import MISSING_ROOT, settle_foreign
    from mobile_vla.opening.place import is_own
    from mobile_vla.settings.typed import build
    from mobile_vla.training.config import TrainConfig

    file = given.path.expanduser().absolute()
    foreign = open_foreign(file, given.trust)
    if not is_own(foreign):
        with_data = names_episodes(settings["data"])
        settled = settle_foreign(foreign, _with_root(settings), context.settings, given.load)
        return Case.of(settled.found.placed(insist=True), with_data, settled.sources)
    typed = [text for text in context.overrides if not text.startswith(("path=", "out=", "name="))]
    if typed:
        raise UserError(f"{typed[0]}: a checkpoint says itself how it was trained; with run=<folder> settings change")
    config = build(TrainConfig, read_checkpoint(file)["mobile_vla"]["config"])
    return Case.of(CheckpointFile.open(file, config), with_data=config.data.root != MISSING_ROOT)


def _with_root(settings: dict[str, Any]) -> dict[str, Any]:
    from mobile_vla.data.dataset import names_episodes

    data = settings["data"]
    return settings if names_episodes(data) else {**settings, "data": {**data, "root": NOWHERE}}


def _report(case: "Case", found: "Examined") -> Report:
    numbers = found.to_plain()
    counts = Counter(finding.severity for finding in found.findings)
    errors, warnings = counts["error"], counts["warning"]
    payload = {
        **case.about,
        "layout": case.policy.backbone.layout.name,
        "trained": case.trained,
        "new": sorted(case.new),
        "data": None if case.recorded is None else case.config.data.places(),
        "counts": {"error": errors, "warning": warnings},
        **numbers,
        "notes": list(case.notes),
    }
    rows: list[tuple[str, str]] = [(finding.severity, _tell(finding)) for finding in found.findings]
    size = found.whole.size
    rows += [
        (
            f"moved by {name.replace('_', ' ')}",
            f"context {moved.context / size:.1%} of its size, chunk {moved.chunk:.2g}"
            if moved.largest_context
            else "context exactly 0",
        )
        for name, moved in found.wholes().items()
        if size
    ]
    rows += [(name, f"{one['value']}  ({one['from']})") for name, one in case.about.get("settings", {}).items()]
    rows += [("note", note) for note in (*case.notes, WIRING)]
    rows.append(("findings", f"{errors} errors, {warnings} warnings" if errors + warnings else "none"))
    return Report(payload=payload, table=rows)


def _tell(finding: "Finding") -> str:
    if finding.severity == "passed":
        return f"{finding.name}: {finding.what}"
    return f"{finding.name}: {finding.what}. That means: {finding.means}. Remedy: {finding.remedy}."


COMMAND = Command(
    name="doctor",
    summary="Checks that a policy is wired: what is attended to, what each input can change.",
    examples=(
        "mobile-vla doctor run=runs/train/2026-01-31_09-00-00_demo",
        "mobile-vla doctor run=runs/train/2026-01-31_09-00-00_demo checkpoint=last data.root=other_episodes",
        "mobile-vla doctor path=runs/train/2026-01-31_09-00-00_demo/checkpoints/last.ckpt",
        "mobile-vla doctor path=epoch=9.ckpt model.layout=legacy model.preprocessing=unit "
        "data.components=[linear_x,linear_y]",
        "mobile-vla doctor model=tiny",
        "mobile-vla doctor model=kosmos2 model.weights=~/kosmos-2-patch14-224",
        "mobile-vla doctor model=kosmos2 model.layout=legacy data.root=episodes",
    ),
    prepare=prepare,
    saved=("run",),
    optional=("data.root",),  # of an imported run
)
