"""Stores of contexts below a run's folder, one an epoch: `contexts/epoch_<NNN>/`.

NNN counts from 000, as the names of checkpoints and `metrics.csv` do: what lies there was computed when epoch NNN had
ended, so its manifest says of `run.epoch`, the whole epochs trained, one more. `contexts/before_training/` is of the
policy that training began with.
"""

from pathlib import Path

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
    from mobile_vla.contexts.removal import remove_store  # needs numpy, which listing the epochs does not

    later = [folder for number, folder in list_epochs(contexts).items() if number >= epoch]
    return [folder for folder in later if remove_store(folder)]
