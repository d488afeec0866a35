"""`mobile-vla import`: a policy's file from elsewhere as a run, or contexts that others stored as a store.

In: the settings of `conf/import.yaml`; what lies at `path` decides. Out: the output folder is the run, or the store;
`import.json` says what was taken, what was left and what is new.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Command, Context, Job, Report

if TYPE_CHECKING:
    from mobile_vla.opening.foreign_policy import ForeignConfig


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Read and check what is there; the job writes."""
    from mobile_vla.contexts.arrays import METADATA, VECTORS
    from mobile_vla.opening.foreign_policy import WORDS, ForeignConfig
    from mobile_vla.settings.typed import build

    settings = build(ForeignConfig, {key: config[key] for key in WORDS})
    path = settings.path.expanduser().absolute()
    if any((path / name).exists() for name in (VECTORS, METADATA)):
        return _prepare_arrays(path, context)
    return _prepare_policy(path, settings, {key: value for key, value in config.items() if key not in WORDS}, context)


def _prepare_policy(path: Path, settings: "ForeignConfig", values: dict[str, Any], context: Context) -> Job:
    from mobile_vla.jobs.importing import importing_libraries

    with importing_libraries():
        from mobile_vla.checkpoints.foreign import open_foreign
        from mobile_vla.opening.foreign_policy import MISSING_ROOT, settle_foreign
        from mobile_vla.settings.saved import write_config

    foreign = open_foreign(path, settings.trust)
    if values["data"]["root"] is not None:
        raise UserError(
            "data.root: an imported run has no episodes of its own; give data.root= to eval, probe and train"
        )
    values["data"]["root"] = MISSING_ROOT
    settled = settle_foreign(foreign, values, context.settings, settings.load)

    def run(out: Path) -> Report:
        payload = settled.found.write(out, settled.config, write_config)
        payload |= {"settings": settled.sources, "load": settings.load}
        return Report(payload=payload, table=_rows(payload, out))

    return Job(run=run)


def _rows(found: Mapping[str, Any], out: Path) -> list[tuple[str, str]]:
    rows = [("from", f"{found['what']}: {found['path']}")]
    for name, part in found["parts"].items():
        new = f"{part['new']} tensors are new, the file has none of them ({', '.join(part['new_names'])}, …)"
        taken = f"{part['loaded']} tensors taken, {part['loaded_parameters']:,} parameters"
        rows.append((name, "; ".join(text for text, number in ((taken, part["loaded"]), (new, part["new"])) if number)))
    if found["left"]:
        more = ", …" if len(found["left"]) > 3 else ""
        rows.append(("left", f"{len(found['left'])} tensors: {', '.join(found['left'][:3])}{more}"))
    base = found["base"]
    rows.append(
        ("base weights", "base/ in this folder: the file's own" if base["stored"] else str(base["weights"])),
    )
    rows += [(name, f"{one['value']}  ({one['from']})") for name, one in found["settings"].items()]
    rows += [("note", note) for note in found["notes"]]
    rows.append(("note", "it is not known what it was trained on: no episode can be called held out for sure"))
    rows.append(("next", f"mobile-vla probe run={out} data.root=<episodes>"))
    return rows


def _prepare_arrays(folder: Path, context: Context) -> Job:
    from mobile_vla.contexts.importing import open_arrays
    from mobile_vla.jobs.progress import show_steps

    with show_steps(enabled=context.rank == 0) as show:
        arrays = open_arrays(folder, partial(show, "rows checked"))

    def run(out: Path) -> Report:
        from mobile_vla.contexts.importing import write_store
        from mobile_vla.contexts.reader import open_store
        from mobile_vla.jobs.progress import show_progress

        with show_progress("rows stored", enabled=context.rank == 0) as progress:
            manifest = write_store(arrays, out, progress)
        store = open_store(out)
        payload = {
            "path": arrays.folder,
            "rows": manifest.rows,
            "episodes": manifest.episodes,
            "taps": manifest.to_json()["taps"],
            "labels": store.labels,
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
    summary="Makes a run of a policy's file from elsewhere, or a store of context_vectors.npy + json.",
    examples=(
        "mobile-vla import path=epoch=9.ckpt model.layout=legacy model.preprocessing=unit "
        "data.components=[linear_x,linear_y]",
        "mobile-vla import path=robovlms.pt load=backbone model.weights=~/kosmos-2-patch14-224",
        "mobile-vla import path=adapter_folder model.weights=~/kosmos-2-patch14-224",
        "mobile-vla import path=old_dump out=stores/epoch_7",
    ),
    prepare=prepare,
)
