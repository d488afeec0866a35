"""Stores of contexts below a run's folder, one an epoch: `contexts/epoch_<NNN>/`.

NNN counts from 000, as the names of checkpoints and `metrics.csv` do: what lies there was computed when epoch NNN had
ended, so its manifest says of `run.epoch`, the whole epochs trained, one more. `contexts/before_training/` is of the
policy that training began with.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from mobile_vla.contexts.manifest import MANIFEST, PARTS, PLAN, ROWS, SHARDS, load_manifest
from mobile_vla.durable import remove_parts
from mobile_vla.errors import UserError

FOLDER, BEFORE, EPOCH = "contexts", "before_training", "epoch_"


def name_epoch(epoch: int) -> str:
    return f"{EPOCH}{epoch:03d}"


def list_epochs(contexts: Path) -> dict[int, Path]:
    """Epoch -> its store, complete or not, in their order."""
    found = {folder.name.removeprefix(EPOCH): folder for folder in contexts.glob(f"{EPOCH}*")}
    return dict(sorted((int(number), folder) for number, folder in found.items() if number.isdecimal()))


def remove_from(contexts: Path, epoch: int) -> list[Path]:
    """Remove the stores of this epoch and of later ones: a run that goes on from here comes to them anew.

    They may be of weights that the run will never have, if it goes on otherwise than it did.
    """
    later = [folder for number, folder in list_epochs(contexts).items() if number >= epoch]
    return [folder for folder in later if remove_store(folder)]


def remove_store(folder: Path) -> bool:
    """Remove the files of a store that its own manifest names, and the folder if nothing else is in it.

    False where it is no store of ours, or a link: then all of it stays.
    """
    if folder.is_symlink():
        return False
    try:
        manifest = load_manifest(folder)
    except UserError:
        return False
    shards = [manifest.shard(tap, number) for tap in manifest.taps for number in range(manifest.num_shards)]
    (folder / MANIFEST).unlink()  # first: what is left is no store
    if not (folder / PARTS).is_symlink():
        shutil.rmtree(folder / PARTS, ignore_errors=True)
    for name in (PLAN, ROWS, *shards):
        (folder / name).unlink(missing_ok=True)
    remove_parts(folder)
    for place in (*{(folder / name).parent for name in shards}, folder / SHARDS, folder):
        with suppress(OSError):  # it is gone, or holds something else
            place.rmdir()
    return True
