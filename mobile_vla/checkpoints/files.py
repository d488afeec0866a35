"""Checkpoint files on disk: written beside and verified before they count, the one before kept until then.

`last.ckpt` is the newest, `previous.ckpt` the one before it. A file is a zip archive whose every record has a
checksum, so damage anywhere in the weights is noticed, also where it would load without complaint.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from mobile_vla.core.durable import replaced
from mobile_vla.core.errors import UserError

LAST, PREVIOUS, NEXT = "last.ckpt", "previous.ckpt", "next.ckpt"


def save(content: Any, file: Path) -> None:
    """Write `content`, read it back, and only then let it take the place of `file`; OSError if it did not arrive."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced(file) as part:
        torch.save(content, part)
        reason = find_damage(part)
        if reason is not None:
            raise OSError(f"{file}: what was written cannot be read back ({reason})")


def find_damage(file: Path) -> str | None:
    """None if every record of a checkpoint file matches its checksum, and torch finds them; else what is wrong."""
    try:
        with zipfile.ZipFile(file) as archive:
            record = archive.testzip()
            entries = {(info.compress_type, info.flag_bits, info.external_attr) for info in archive.infolist()}
        if record is not None:
            return f"the checksum of {record} does not match"
        if len(entries) != 1:  # torch writes all alike; of one marked as a folder it would read nothing, silently
            return "its directory is damaged"
        torch.load(file, map_location="cpu", weights_only=True, mmap=True)  # mapped, not read
    except FileNotFoundError:
        return "no such file"
    except Exception as error:  # both raise a dozen kinds on a damaged file
        return str(error).strip().split("\n")[0][:160] or type(error).__name__
    return None


def rotate(folder: Path) -> None:
    """`next.ckpt` becomes the last one, the last one the previous; killed in between, one of them is there."""
    if (folder / LAST).exists():
        os.replace(folder / LAST, folder / PREVIOUS)
    os.replace(folder / NEXT, folder / LAST)


def find_resumable(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest undamaged checkpoint to continue from, and a line for each newer one that is damaged.

    None where training never saved anything; `UserError` if there are checkpoints and all are damaged.
    """
    damaged = []
    for name in (LAST, PREVIOUS):
        file = folder / name
        if not file.exists():
            continue
        reason = find_damage(file)
        if reason is None:
            return file, [f"{line}; continuing from the one before, {name}" for line in damaged]
        damaged.append(f"checkpoints/{file.name} is damaged ({reason})")
    if damaged:
        raise UserError(
            f"{'; '.join(damaged)}: there is nothing left to continue from in {folder}; repeat the run with "
            f"config={folder.parent / 'config.yaml'}"
        )
    return None, []
