"""`mobile-vla export`: a store of contexts as plain arrays.

In: the settings of `conf/export.yaml`. Out: `context_vectors.npy` and `context_metadata.json`, and `export.json`.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from mobile_vla.cli.command import Command, Context, Job, Report


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open the store and find the rows; the job writes them."""
    from mobile_vla.cli.typed import build
    from mobile_vla.contexts.exporting import ExportConfig, choose_rows
    from mobile_vla.contexts.reader import open_store
    from mobile_vla.errors import UserError

    settings = build(ExportConfig, config)
    if settings.store is None:
        raise UserError("missing setting 'store': give store=<folder of a store of contexts>")
    store = open_store(settings.store)
    rows = choose_rows(store, settings)

    def run(out: Path) -> Report:
        from mobile_vla.cli.progress import show_progress
        from mobile_vla.contexts.arrays import METADATA, VECTORS
        from mobile_vla.contexts.exporting import export_arrays

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
            "settings": config,
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
    summary="Writes a store of contexts as context_vectors.npy and context_metadata.json.",
    examples=(
        "mobile-vla export store=runs/probe/before",
        "mobile-vla export store=runs/probe/before tap=context variant=own out=arrays",
    ),
    prepare=prepare,
)
