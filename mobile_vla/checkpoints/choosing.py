"""Which checkpoint of a run is meant: the best by validation loss, the last, or a file.

In: a run's folder and the words `best`, `last`, `start` or a path. Out: the file, undamaged. The best one is told from
the files' own names, which hold their loss, so that a folder that was moved or thinned out still knows it. The weights
that training began with (`start`) are in no file and are made anew: what they must be, any checkpoint of the run says.
"""

import math
import re
from pathlib import Path

from mobile_vla.checkpoints.files import LAST, find_damage
from mobile_vla.core.errors import UserError

FOLDER = "checkpoints"
START = "start"
IMPORTED = "imported.ckpt"  # of a run that was not trained here: until it is, the best and the last
NAME = re.compile(r"epoch=(?P<epoch>\d+)-val_loss=(?P<loss>\S+)\.ckpt")


def choose_checkpoint(run_folder: Path, wanted: str) -> Path:
    """The file; `UserError` where it is damaged, or cannot be had, with a list of what there is."""
    if wanted == START:
        return _find_any(run_folder)
    file = _find(run_folder, wanted)
    reason = find_damage(file)
    if reason is not None:
        others = sorted(other.name for other in (run_folder / FOLDER).glob("*.ckpt") if other != file)
        raise UserError(f"{file} is damaged ({reason}); evaluate another with checkpoint=<file>, there are {others}")
    return file


def _find_any(run_folder: Path) -> Path:
    folder = run_folder / FOLDER
    there = sorted((file.name for file in folder.glob("*.ckpt")), key=lambda name: (name != LAST, name))
    for name in there:
        if find_damage(folder / name) is None:
            return folder / name
    listed = f"all are damaged: {', '.join(there)}" if there else "there is none"
    raise UserError(
        f"a checkpoint in {folder} must say which base weights the run began with, and {listed}; "
        "repeat the run with config=<run>/config.yaml",
        argument="checkpoint",
        value="start",
    )


def _find(run_folder: Path, wanted: str) -> Path:
    folder = run_folder / FOLDER
    there = sorted(file.name for file in folder.glob("*.ckpt"))
    listed = f"it holds {', '.join(there)}" if there else "it holds no *.ckpt"
    if wanted == "last":
        if LAST not in there and IMPORTED in there:
            return folder / IMPORTED
        if LAST not in there:
            raise UserError(f"no {LAST} in {folder}; {listed}", argument="checkpoint", value="last")
        return folder / LAST
    if wanted == "best":
        ranked = sorted((*rank, name) for name in there if (rank := _rank(name)) is not None)
        if not ranked and IMPORTED in there and LAST not in there:
            return folder / IMPORTED
        if not ranked:
            raise UserError(
                f"no file in {folder} has its val_loss in its name; {listed}; give checkpoint=last or "
                "checkpoint=<file>",
                argument="checkpoint",
                value="best",
            )
        return folder / ranked[0][-1]
    given = Path(wanted).expanduser()
    for file in (given.absolute(), run_folder / given, folder / given):
        if file.is_file():
            return file
    raise UserError(
        f"no such file, nor one in {folder} ({listed}); expected best, last, start or a file",
        argument="checkpoint",
        value=wanted,
    )


def _rank(name: str) -> tuple[float, int] | None:
    """(loss, epoch) of a checkpoint's name; None without a finite loss. Of equal losses the earliest epoch is best."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    try:
        loss = float(match["loss"])
    except ValueError:
        return None
    return (loss, int(match["epoch"])) if math.isfinite(loss) else None
