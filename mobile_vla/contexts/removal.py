"""Takes a store away: the files that its own manifest names, and nothing that anybody else put beside them."""

import shutil
from contextlib import suppress
from pathlib import Path

from mobile_vla.contexts.manifest import MANIFEST, PARTS, PLAN, ROWS, SHARDS, load_manifest
from mobile_vla.core.durable import remove_parts
from mobile_vla.core.errors import UserError


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
