"""`mobile-vla probe`: one validation epoch that stores what the tap points hold, no training.

In: a run, or a model that was never trained; which episodes, which of their frames, which taps. Out: a store of
contexts in `<out>/contexts/`, and `probe.json`, figures and TensorBoard events that describe it.
"""

import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.cli.tables.probe import rows_of_probe
from mobile_vla.core.errors import Interrupted, UserError
from mobile_vla.core.file_names import make_file_name
from mobile_vla.jobs.command import Command, Context, Job, Report

if TYPE_CHECKING:
    from mobile_vla.analysis.descriptions.description import Description
    from mobile_vla.analysis.pairs.drift import Drift
    from mobile_vla.contexts.reader import Store
    from mobile_vla.data.dataset import Progress
    from mobile_vla.probing.context_probe import ContextProbe, Probed
    from mobile_vla.probing.subject import Subject

PARTS = ("validation", "test", "train", "all")
MACHINE = ("trainer.accelerator=", "trainer.precision=")
STORE, REPORT, MANIFEST = "contexts", "probe.json", "manifest.json"


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open the run or the model and its episodes, plan the rows, measure the taps; the job stores."""
    from mobile_vla.jobs.importing import importing_libraries
    from mobile_vla.jobs.progress import show_steps

    with importing_libraries():
        from mobile_vla.probing.context_probe import ContextProbe, ProbeConfig
        from mobile_vla.settings.typed import build

    if config["split"] not in (None, *PARTS):
        raise UserError(f"split={config['split']}: expected one of {', '.join(PARTS)}")
    if isinstance(of := config["probe"]["plan"].get("of"), str):
        config["probe"]["plan"]["of"] = str(Path(of).expanduser().absolute())  # as the store's manifest will say
    wanted = build(ProbeConfig, config.pop("probe"), "probe")
    _refuse_ranks_without_torchrun(context)
    before = None if wanted.before is None else _open_before(wanted.before)
    shown = context.rank == 0
    with show_steps(enabled=shown) as progress:
        subject = _open(config, context, progress)
    probe = ContextProbe.prepare(wanted, subject, context.out or Path.cwd())
    if before is not None:
        probe.refuse_before(before)
    if shown:
        print("\n".join(probe.describe()), flush=True)

    def run(out: Path) -> Report:
        try:
            with show_steps(enabled=shown) as progress:
                probed = probe.run(out, progress)
            return _report(probe, probed, before, out) if shown else Report(payload={})
        except KeyboardInterrupt:  # while it is described; while it runs, a signal waits for the pass at hand
            stopped = f"interrupted; what was stored stays: go on with the same words and out={out}"
            raise Interrupted(stopped, signal.SIGINT) from None

    return Job(run=run)


def _open_before(text: str) -> "Store":
    from mobile_vla.contexts.reader import open_store

    folder = Path(text).expanduser().absolute()
    return open_store(folder / STORE if (folder / STORE).is_dir() else folder)


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


def _open(config: dict[str, Any], context: Context, progress: "Progress") -> "Subject":
    from mobile_vla.data.dataset import DataConfig
    from mobile_vla.opening.probe_subject import subject_of_run, subject_of_untrained
    from mobile_vla.opening.stored_run import StoredRun
    from mobile_vla.settings.typed import build
    from mobile_vla.training.config import TrainConfig

    settings = build(TrainConfig, {key: value for key, value in config.items() if key not in ("checkpoint", "split")})
    if not context.runs:
        if config["checkpoint"] != "best":
            raise UserError(f"checkpoint={config['checkpoint']} is a run's: give run=<folder> as well")
        return subject_of_untrained(settings, config["split"], progress)
    run = context.runs[0]
    stored = StoredRun.open(
        run.folder,
        settings,
        str(config["checkpoint"]),
        trained_on=build(DataConfig, run.saved["data"], "data"),
        insist_on_machine=any(text.startswith(MACHINE) for text in context.overrides),
    )
    return subject_of_run(stored, config["split"], progress)


def _report(probe: "ContextProbe", probed: "Probed", before: "Store | None", out: Path) -> Report:
    """Describe the store: numbers, figures, TensorBoard."""
    from mobile_vla.analysis.descriptions.description import describe_tap
    from mobile_vla.analysis.descriptions.description_figure import draw_descriptions, draw_map, save_figure
    from mobile_vla.display.attention_figure import film_strip, save_png
    from mobile_vla.display.probe_board import ProbeBoard
    from mobile_vla.taps.points import list_described

    store, subject = probed.store, probe.subject
    taps = list_described(store.taps)
    described = {tap: describe_tap(store, tap) for tap in taps}
    save_figure(draw_descriptions(described), out / "spectra.png")
    label = next(iter(probe.config.plan.by), None)
    for number, tap in enumerate(taps):
        save_figure(draw_map(store, tap, label), out / f"map_{number}_{make_file_name(tap)}.png")
    drifts, earlier, words, missing = _find_changes(before, store, described)
    numbers = {tap: found.scalars() for tap, found in described.items()}
    for tap, drift in drifts.items():
        numbers[tap] |= drift.scalars()
    strips = {}
    for number, frames in enumerate(probe.attended()):
        strips[f"attention/{number}"] = strip = film_strip(frames)
        save_png(strip, out / f"attention_{number}.png", frames)
    board = ProbeBoard(store, probe.episodes, subject.data.dataset.frames, probe.config.plan.by)
    step = max((subject.run["step"] or 0) - 1, 0)  # where the training's own validation of these weights is
    notes = board.write(out, step, numbers, strips)
    notes += missing + probe.shortage
    if not subject.trained:
        notes.insert(0, "predicted chunks are not stored: the head was never trained, and its answers mean nothing")
    computed = min(probed.computed, len(store))
    payload = {
        **subject.run,
        "trained": subject.trained,
        "split": subject.split,
        "data": [str(root.path) for root in subject.data.config.roots()],
        "contexts": str(out / STORE),
        "rows": len(store),
        "rows_computed": computed,
        "episodes": store.manifest.episodes,
        "parts": _count(store.column("part")),
        "variants": _count(store.column("variant")),
        "plan": probe.plan.to_plain(),
        "taps": store.manifest.to_json()["taps"],
        "fingerprints": store.manifest.info.fingerprints,
        "bytes": sum(file.stat().st_size for file in (out / STORE).rglob("*") if file.is_file()),
        "description": {tap: found.to_plain() for tap, found in described.items()},
        "before": None if before is None else str(before.folder),
        "before_description": {tap: found.to_plain() for tap, found in earlier.items()} or None,
        "drift": {tap: asdict(drift) for tap, drift in drifts.items()} or None,
        "change": words or None,
        "accelerator": subject.accelerator,
        "precision": subject.precision,
        "windows_per_s": probed.pace.windows_per_s if probed.pace.windows else None,
        "data_wait_share": probed.pace.data_wait_share if probed.pace.windows else None,
        "seconds": probed.seconds,
        "notes": notes,
    }
    return Report(payload=payload, table=rows_of_probe(payload))


def _find_changes(
    before: "Store | None", now: "Store", described: "Mapping[str, Description]"
) -> "tuple[dict[str, Drift], dict[str, Description], dict[str, list[str]], list[str]]":
    """By tap: how far the rows moved, what they looked like before, and both in words; and notes on what is missing."""
    from mobile_vla.analysis.descriptions.change import describe_before, tell_change
    from mobile_vla.analysis.pairs.basis import explain_other_basis
    from mobile_vla.analysis.pairs.drift import find_drift

    drifts, earlier, words, notes = {}, {}, {}, []
    if before is None:
        return drifts, earlier, words, notes
    for tap in described:
        drift = explain_other_basis(before, now, tap) or find_drift(before, now, tap)
        if isinstance(drift, str):
            notes.append(f"no drift: {drift}")
            continue
        drifts[tap] = drift
        found = describe_before(before, now, tap)
        if isinstance(found, str):
            notes.append(f"{tap} is not described as it was before: {found}")
            continue
        earlier[tap], words[tap] = found, tell_change(found, described[tap], drift)
    return drifts, earlier, words, notes


def _count(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))


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
    continues=_continues,
)
