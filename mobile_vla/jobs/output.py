"""The folder that a job writes into: named after the overrides, made exclusively, only when all was found valid."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mobile_vla.core.errors import UserError
from mobile_vla.core.file_names import LONGEST, STAMP, make_file_name
from mobile_vla.jobs.claim import Claim, find_foreign

# Settings that say where things lie, not what a run is.
PLACES = {"out", "name", "run", "config", "path", "left", "right", "stores", "runs", "against", "store"}


def name_run(overrides: Sequence[str]) -> str:
    """A short file name made of what was overridden: `model=tiny trainer.max_epochs=3` -> `model-tiny_max_epochs-3`.

    What is done with a run is called as the run is: `run=runs/train/2026-01-31_09-00-00_demo split=test` ->
    `demo_split-test`.
    """
    parts = []
    for override in overrides:
        key, equals, value = override.lstrip("+").partition("=")
        last = re.split(r"[./]", key.partition("@")[0])[-1]
        value = value.strip("'\"")
        is_place = key in PLACES or last == "root" or "/" in value or "\\" in value or value.startswith("~")
        is_run = key == "run" and bool(Path(value).name) and not value.startswith("[")
        if key.startswith(("hydra.", "hydra/")) or (equals and is_place and not is_run):
            continue
        if is_run:
            part = make_file_name(STAMP.sub("", Path(value).name))
        else:
            part = make_file_name(f"{last}-{value}" if equals else f"no-{last.lstrip('~')}")
        if len("_".join([*parts, part])) > LONGEST:
            break
        parts.append(part)
    return "_".join(parts) or "default"


def check_out(out: Path) -> None:
    """A UserError where the folder cannot be a new output folder. Touches nothing."""
    if out.is_dir():
        if (found := find_foreign(out)) is not None:
            raise UserError(
                f"the folder is not empty (it holds {found}); name a new one, or empty this one",
                argument="out",
                value=out,
            )
    elif out.exists() or out.is_symlink():
        raise UserError("is not a folder", argument="out", value=out)


def take_out(out: Path, fresh: bool = True) -> Claim:
    """Make the folder that `out=` names, which may exist where it is empty, and take it: one process wins.

    fresh: false for one that holds work to continue with
    """
    if fresh:
        check_out(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder: {error.strerror or error}", argument="out", value=out) from error
    return Claim(out, fresh)


def take_default(command: str, name: str) -> Claim:
    return Claim(create_default(command, name))


def create_default(command: str, name: str, now: datetime | None = None) -> Path:
    """Make `runs/<command>/<date>_<time>_<name>/` under the working directory; a collision gets a suffix."""
    stamp = (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
    return create_exclusively(Path.cwd() / "runs" / command / f"{stamp}_{name}")


def create_exclusively(folder: Path) -> Path:
    """Make the folder, or the first of `<folder>_2`, `<folder>_3`, ... that nobody else has made."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            candidate = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
            try:
                candidate.mkdir(exist_ok=False)
            except FileExistsError:
                number += 1
            else:
                return candidate
    except OSError as error:
        raise UserError(
            f"cannot make the output folder {folder}: {error.strerror or error}; give out=<folder>"
        ) from error


@contextmanager
def taken(out: Path | str) -> Iterator[Path]:
    """For a call from Python: the folder, new or empty, which is this call's alone meanwhile."""
    claim = take_out(Path(out).expanduser().absolute())
    try:
        yield claim.out
    finally:
        claim.release(remove_empty=True)
