"""`mobile-vla import`: contexts that others stored as plain arrays, as a store.

In: the settings of `conf/import.yaml`. Out: the output folder is the store; `import.json` lies beside its manifest.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mobile_vla.cli.command import Command, Context, Job, Report


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """What comes in."""

    path: Path


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Read and check the arrays; the job stores them."""
    from mobile_vla.cli.progress import show_steps
    from mobile_vla.cli.typed import build
    from mobile_vla.contexts.importing import open_arrays

    settings = build(ImportConfig, config)
    with show_steps(enabled=context.rank == 0) as show:
        arrays = open_arrays(settings.path.expanduser().absolute(), partial(show, "rows checked"))

    def run(out: Path) -> Report:
        from mobile_vla.cli.progress import show_progress
        from mobile_vla.contexts.importing import write_store
        from mobile_vla.contexts.reader import open_store

        with show_progress("rows stored", enabled=context.rank == 0) as progress:
            manifest = write_store(arrays, out, progress)
        store = open_store(out)
        payload = {
            "path": arrays.folder,
            "rows": manifest.rows,
            "episodes": manifest.episodes,
            "taps": manifest.to_json()["taps"],
            "labels": store.labels,
            "settings": config,
        }
        table = [
            ("rows", f"{manifest.rows} of {manifest.episodes} episodes"),
            *((name, f"{spec.shape} {spec.dtype}") for name, spec in manifest.taps.items()),
            ("labels", ", ".join(store.labels) or "none"),
        ]
        return Report(payload=payload, table=table)

    return Job(run=run)


COMMAND = Command(
    name="import",
    summary="Makes a store of contexts from context_vectors.npy and context_metadata.json, whoever wrote them.",
    examples=(
        "mobile-vla import path=old_dump",
        "mobile-vla import path=~/dumps/epoch_7 out=stores/epoch_7",
    ),
    prepare=prepare,
)
