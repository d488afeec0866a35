"""`mobile-vla pack`: decodes and resizes the frames of a folder of episodes, once, for fast reading.

In: the settings of `conf/pack.yaml`. Out: packed copies in `data.pack_dir`, a table and `pack.json`. Training packs
what it needs by itself; this does it beforehand, on any machine that sees both folders.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Command, Context, Job, Report

if TYPE_CHECKING:
    from mobile_vla.core.preprocessing import Preprocessing

MAX_FAULTS = 10  # in the table; pack.json holds all

LARGEST = 4096  # pixels of a packed frame's side: a frame then takes 50 MB


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Check the settings and find the episodes; the job packs them."""
    from mobile_vla.jobs.progress import show_steps
    from mobile_vla.jobs.quiet import quiet_libraries

    quiet_libraries()
    from mobile_vla.data.dataset import DataConfig, find_episodes, refuse_faults
    from mobile_vla.settings.typed import build

    data = build(DataConfig, config["data"], "data")
    processes, prune = config["processes"], config["prune"]
    if processes is not None and not (type(processes) is int and processes >= 1):
        raise UserError(f"expected a number of at least 1, or null, got {processes}", argument="processes")
    if not isinstance(prune, bool):
        raise UserError(f"expected true or false, got {prune}", argument="prune")
    preprocessing = _find_preprocessing(config)
    shown = context.rank == 0
    with show_steps(enabled=shown) as progress:
        catalog = find_episodes(data, lambda *done: progress("reading episodes", *done))
    num_files = len(catalog.episodes) + len(catalog.faults)
    if data.faults == "error":
        refuse_faults(data, catalog.faults, num_files)

    def run(out: Path) -> Report:
        from mobile_vla.data.frames import PackedFrames
        from mobile_vla.data.packed.packing import pack_folder

        begun = time.perf_counter()
        folder = Path(data.pack_dir).expanduser().absolute()
        frames = PackedFrames(preprocessing, folder)
        roots = [root.path for root in data.roots()]
        with show_steps(enabled=shown) as progress:
            done = pack_folder(
                frames,
                catalog.episodes,
                roots,
                processes=processes,
                prune=prune,
                progress=lambda *done: progress("packing frames", *done),
            )
        faults = (*catalog.faults, *done.faults)
        if data.faults == "error":
            refuse_faults(data, faults, num_files)
        num_frames = sum(episode.num_frames for episode in done.good)
        payload = {
            "episodes": len(done.good),
            "files": num_files,
            "frames": num_frames,
            "packed": {
                "episodes": len(done.new),
                "frames": sum(episode.num_frames for episode in done.new),
                "changed_since": done.changed,
            },
            "known": len(done.good) - len(done.new),
            "outdated": {
                "copies": len(done.outdated.copies),
                "bytes": done.outdated_bytes,
                "changed": sorted(done.outdated.changed),
                "removed": sorted(done.outdated.removed),
            },
            "pruned": prune,
            "freed_bytes": done.freed,
            "faults": [{"file": fault.file, "reason": fault.reason} for fault in faults],
            "folder": str(folder),
            "size": preprocessing.size,
            "interpolation": preprocessing.interpolation,
            "bytes": 3 * preprocessing.size**2 * num_frames,
            "seconds": time.perf_counter() - begun,
            "settings": config,
        }
        return Report(payload=payload, table=_table(payload))

    return Job(run=run)


def _find_preprocessing(config: Mapping[str, Any]) -> "Preprocessing":
    """Of the model, unless `size` is given; `UserError` where neither is to be had."""
    from mobile_vla.core.preprocessing import Preprocessing
    from mobile_vla.models.backbones.loading import open_source
    from mobile_vla.models.backbones.model_config import ModelConfig
    from mobile_vla.settings.typed import build

    model, size = build(ModelConfig, config["model"], "model"), config["size"]
    if size is None:
        try:
            return open_source(model).preprocessing
        except UserError as error:
            raise UserError(f"{error}; without the model, give size=<pixels>") from None
    if type(size) is not int or not 1 <= size <= LARGEST:
        raise UserError(f"expected 1 to {LARGEST} pixels, or null for the model's, got {size}", argument="size")
    return Preprocessing.named(model.preprocessing or "clip", size)


def _table(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    packed, outdated, size = found["packed"], found["outdated"], found["size"]
    changed = f", {packed['changed_since']} of them changed since" if packed["changed_since"] else ""
    rows = [
        ("episodes", f"{found['episodes']} good of {found['files']} files, {found['frames']} frames"),
        ("packed now", f"{packed['episodes']}{changed} ({packed['frames']} frames in {found['seconds']:.1f} s)"),
        ("known already", str(found["known"])),
        ("frames", f"{size}x{size}, {found['interpolation']}, {_mib(found['bytes'])} in {found['folder']}"),
    ]
    if outdated["copies"]:
        what = f"{outdated['copies']} copies of {len(outdated['changed'])} changed and "
        what += f"{len(outdated['removed'])} removed files, {_mib(outdated['bytes'])}"
        rows.append(("outdated", f"{what}; {'removed' if found['pruned'] else 'prune=true removes them'}"))
    if found["pruned"]:
        rows.append(("given back", _mib(found["freed_bytes"])))
    rows += [("left out", f"{fault['file']}: {fault['reason']}") for fault in found["faults"][:MAX_FAULTS]]
    if len(found["faults"]) > MAX_FAULTS:
        rows.append(("left out", f"{len(found['faults']) - MAX_FAULTS} more files, in pack.json"))
    return rows


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"


COMMAND = Command(
    name="pack",
    summary="Decodes and resizes the frames of episodes once, so that training never waits for them.",
    examples=(
        "mobile-vla pack data.root=episodes model.weights=~/kosmos-2",
        "mobile-vla pack data.root=[day1,day2] size=224 processes=8",
        "mobile-vla pack data.root=episodes size=224 prune=true",
    ),
    prepare=prepare,
)
