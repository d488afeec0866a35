"""`mobile-vla probe`: one validation epoch that stores what the tap points hold, no training.

In: a run, or a model that was never trained; which episodes, which of their frames, which taps. Out: a store of
contexts in `<out>/contexts/`, and `probe.json`, figures and TensorBoard events that describe it.
"""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.cli.tables.probe import rows_of_probe
from mobile_vla.core.errors import Interrupted, UserError
from mobile_vla.jobs.command import Command, Context, Job, Report

if TYPE_CHECKING:
    from mobile_vla.opening.opened import OpenedPolicy

STORE, REPORT, MANIFEST = "contexts", "probe.json", "manifest.json"


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open the run or the model and its episodes, plan the rows, measure the taps; the job stores."""
    from mobile_vla.jobs.importing import importing_libraries
    from mobile_vla.jobs.progress import show_steps

    with importing_libraries():
        from mobile_vla.opening.subject import check_split, open_subject
        from mobile_vla.probing.context_probe import ContextProbe, ProbeConfig, open_before
        from mobile_vla.settings.typed import build

    check_split(config["split"])
    if isinstance(of := config["probe"]["plan"].get("of"), str):
        config["probe"]["plan"]["of"] = str(Path(of).expanduser().absolute())  # as the store's manifest will say
    wanted = build(ProbeConfig, config.pop("probe"), "probe")
    _refuse_ranks_without_torchrun(context)
    before = None if wanted.before is None else open_before(wanted.before)
    shown = context.rank == 0
    with show_steps(enabled=shown) as progress:
        subject = open_subject(_open(config, context), config["split"], progress)
    probe = ContextProbe.prepare(wanted, subject, context.out or Path.cwd())
    if before is not None:
        probe.refuse_before(before)
    if shown:
        print("\n".join(probe.describe()), flush=True)

    def run(out: Path) -> Report:
        from mobile_vla.probing.report import describe_probe

        try:
            with show_steps(enabled=shown) as progress:
                probed = probe.run(out, progress)
            if not shown:
                return Report(payload={})
            found = describe_probe(probe, probed, before, out)
            return Report(payload=found, table=rows_of_probe(found))
        except KeyboardInterrupt:  # while it is described; while it runs, a signal waits for the pass at hand
            stopped = f"interrupted; what was stored stays: go on with the same words and out={out}"
            raise Interrupted(stopped, signal.SIGINT) from None

    return Job(run=run)


def _open(config: dict[str, Any], context: Context) -> "OpenedPolicy":
    from mobile_vla.opening.configuration import Configuration
    from mobile_vla.opening.place import open_run_as
    from mobile_vla.settings.typed import build
    from mobile_vla.training.config import TrainConfig

    settings = {key: value for key, value in config.items() if key not in ("checkpoint", "split")}
    if context.runs:
        run = context.runs[0]
        return open_run_as(run.folder, settings, run.saved, str(config["checkpoint"]), context.insists_on_machine)
    if config["checkpoint"] != "best":
        raise UserError("is a run's: give run=<folder> as well", argument="checkpoint", value=config["checkpoint"])
    return Configuration.open(build(TrainConfig, settings))


def _refuse_ranks_without_torchrun(context: Context) -> None:
    """Several processes that do not know of each other would each store everything."""
    from mobile_vla.core.processes import Processes

    world = Processes.find().world
    typed = [text for text in context.overrides if text.startswith(("trainer.devices=", "trainer.num_nodes="))]
    alone = all(text.partition("=")[2] in ("1", "auto") for text in typed)
    if world == 1 and (context.rank > 0 or not alone):
        raise UserError(
            f"{typed[0] if typed else 'one of several processes'}: probe starts no processes of its own; start them "
            "with torchrun --nproc-per-node=<N> -m mobile_vla probe ... out=<folder>"
        )


def _continues(out: Path) -> bool:
    """Whether a probe was begun there and not reported; a run's own folder, which has a configuration, is none."""
    begun = (out / STORE / MANIFEST).is_file()
    return begun and not (out / REPORT).exists() and not (out / "config.yaml").exists()


COMMAND = Command(
    name="probe",
    summary="Stores what a policy's tap points hold on episodes: one validation epoch, no training.",
    examples=(
        "mobile-vla probe run=runs/train/2026-01-31_09-00-00_demo",
        "mobile-vla probe run=runs/train/2026-01-31_09-00-00_demo probe.taps=[context,text_layer_12,image_tokens]",
        "mobile-vla probe run=runs/train/2026-01-31_09-00-00_demo probe.variants=[swap,donor] probe.plan.kind=all",
        "mobile-vla probe run=runs/train/2026-01-31_09-00-00_demo data.root=other_episodes checkpoint=last",
        "mobile-vla probe run=runs/train/2026-01-31_09-00-00_demo checkpoint=start out=runs/probe/before",
        "mobile-vla probe run=runs/train/2026-01-31_09-00-00_demo probe.before=runs/probe/before",
        "mobile-vla probe model=kosmos2 data.root=episodes",
        "mobile-vla probe run=runs/train/2026-01-31_09-00-00_demo out=runs/probe/2026-02-01_10-00-00_interrupted",
    ),
    prepare=prepare,
    saved=("run",),
    names={name: f"probe.{name}" for name in ("taps", "variants", "plan", "attention", "before", "dtype")},
    continues=_continues,
)
