"""`mobile-vla export`: a run's policy for others, or a store of contexts as plain arrays.

In: the settings of `conf/export.yaml`. Out: of a run, adapters, head, tokenizer and a model card that need nothing of
this package; of a store, `context_vectors.npy` and `context_metadata.json`; and `export.json`.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Command, Context, Job, Report

OWN = ("store", "tap", "variant", "checkpoint", "merge", "evaluation", "license", "data_license")
OF_A_STORE = ("store", "tap", "variant")


@dataclass(frozen=True, kw_only=True)
class RunExportConfig:
    """What of a run is written, and what its card says. evaluation: the output folder of an `eval` of these weights."""

    checkpoint: str = "best"
    merge: bool = False
    evaluation: Path | None = None
    license: str | None = None
    data_license: str | None = None


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open the run or the store; the job writes."""
    own = {key: config[key] for key in OWN}
    if context.runs:
        if own["store"] is not None:
            raise UserError("run= exports a policy and store= contexts: give one of the two")
        settings = {key: value for key, value in config.items() if key not in OWN}
        return _prepare_run({key: own[key] for key in OWN if key not in OF_A_STORE}, settings, context)
    return _prepare_store({key: own[key] for key in OF_A_STORE}, context)


def _prepare_run(own: dict[str, Any], settings: dict[str, Any], context: Context) -> Job:
    from mobile_vla.jobs.importing import importing_libraries

    with importing_libraries():
        from mobile_vla.opening.place import open_run_as
        from mobile_vla.opening.portable_run import PortableRun
        from mobile_vla.settings.typed import build

    wanted = build(RunExportConfig, own)
    run = context.runs[0]
    stored = open_run_as(run.folder, settings, run.saved, wanted.checkpoint)
    evaluation = None if wanted.evaluation is None else wanted.evaluation.expanduser().absolute()
    portable = PortableRun.open(stored, evaluation)

    def export(out: Path) -> Report:
        about = portable.write(out, wanted.merge, wanted.license, wanted.data_license)
        sizes = {str(file.relative_to(out)): file.stat().st_size for file in sorted(out.rglob("*")) if file.is_file()}
        payload = {
            "run": run.folder,
            "checkpoint": stored.checkpoint,
            "base": about["base"],
            "adapters": about["adapters"],
            "merged": about["merged"],
            "numbers": portable.found is not None,
            "bytes": sizes,
            "settings": own,
        }
        base = about["base"]["weights"] or f"{about['base']['folder']}/, written beside: nobody else has them"
        table = [
            ("checkpoint", stored.checkpoint.name),
            ("base weights", base),
            ("files", ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items() if size > 1e5)),
            ("how to load it", f"{out / 'README.md'}"),
        ]
        if portable.found is None:
            table.append(("note", "no numbers of these weights were found for the card; evaluation=<an eval's folder>"))
        return Report(payload=payload, table=table)

    return Job(run=export)


def _prepare_store(own: dict[str, Any], context: Context) -> Job:
    """Open the store and find the rows; the job writes them."""
    from mobile_vla.contexts.exporting import ExportConfig, choose_rows
    from mobile_vla.contexts.reader import open_store
    from mobile_vla.settings.typed import build

    settings = build(ExportConfig, own)
    if settings.store is None:
        raise UserError("missing setting 'store': give store=<folder of a store of contexts> or run=<a run's folder>")
    store = open_store(settings.store)
    rows = choose_rows(store, settings)

    def run(out: Path) -> Report:
        from mobile_vla.contexts.arrays import METADATA, VECTORS
        from mobile_vla.contexts.exporting import export_arrays
        from mobile_vla.jobs.progress import show_progress

        with show_progress("rows", enabled=context.rank == 0) as progress:
            export_arrays(store, rows, settings.tap, out, progress)
        vectors = store.vectors(settings.tap)
        variants = dict(Counter(store.column("variant")[rows].tolist()))
        episodes = len(set(store.column("episode")[rows]))
        payload = {
            "store": store.folder,
            "tap": settings.tap,
            "rows": len(rows),
            "episodes": episodes,
            "dimension": vectors.shape[1],
            "variants": variants,
            "bytes": {name: (out / name).stat().st_size for name in (VECTORS, METADATA)},
            "settings": own,
        }
        table = [
            ("rows", f"{len(rows)} of {episodes} episodes"),
            ("variants", ", ".join(f"{name} {number}" for name, number in variants.items())),
            (VECTORS, f"({len(rows)}, {vectors.shape[1]})"),
        ]
        return Report(payload=payload, table=table)

    return Job(run=run)


COMMAND = Command(
    name="export",
    summary="Writes a run's policy for others (peft adapters, head, card), or a store of contexts as .npy + json.",
    examples=(
        "mobile-vla export run=runs/train/2026-01-31_09-00-00_demo out=policy",
        "mobile-vla export run=runs/train/2026-01-31_09-00-00_demo checkpoint=last merge=true license=apache-2.0",
        "mobile-vla export store=runs/probe/before",
        "mobile-vla export store=runs/probe/before tap=context variant=own out=arrays",
    ),
    prepare=prepare,
    saved=("run",),
)
