"""The table of files that a run leaves out, stored with it; and how many of them are too many.

In: faults, and when they were found. Out: `faults.json`, `{"schema", "version", "faults": [{"file", "reason",
"found"}]}`, where `found` is `before training` or the epoch and step. One line a file: the first reason stays.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import mobile_vla
from mobile_vla.core.durable import write_text
from mobile_vla.core.errors import UserError
from mobile_vla.sources.schema import Fault

SCHEMA = 1
BEFORE_TRAINING = "before training"
NAMED = 3  # faults in a one-line message


@dataclass(frozen=True)
class StoredFault:
    """A file that was left out, why, and since when."""

    file: str
    reason: str
    found: str


def save_faults(faults: Sequence[Fault], file: Path, found: str = BEFORE_TRAINING) -> None:
    """Store a run's faults; what was there is replaced."""
    _write([StoredFault(fault.file, fault.reason, found) for fault in faults], file)


def load_faults(file: Path) -> list[StoredFault]:
    """`UserError` for a table that this version does not know."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["schema"] != SCHEMA:
            raise UserError(f"{file} has schema {stored['schema']}, expected {SCHEMA}: another version wrote it")
        return [StoredFault(row["file"], row["reason"], row["found"]) for row in stored["faults"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{file} is no table of faults ({error!r}); remove it, or start a new run") from error


def append_faults(faults: Sequence[Fault], file: Path, found: str) -> list[StoredFault]:
    """Add the files that are not named yet; returns all that are stored now."""
    stored = load_faults(file) if file.exists() else []
    named = {fault.file: fault for fault in stored}
    for fault in faults:
        named.setdefault(fault.file, StoredFault(fault.file, fault.reason, found))
    if len(named) > len(stored):
        _write(list(named.values()), file)
    return list(named.values())


def refuse_too_many(faults: Sequence[Fault | StoredFault], num_files: int, max_share: float) -> None:
    """`UserError` if more than `max_share` of all files, good and bad, are left out."""
    share = len(faults) / max(num_files, 1)
    if share > max_share:
        named = "; ".join(f"{fault.file}: {fault.reason}" for fault in faults[:NAMED])
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise UserError(
            f"data: {len(faults)} of {num_files} files ({share:.0%}) are broken, more than data.max_fault_share="
            f"{max_share:g}: {named}{more}; mend or remove them, or raise data.max_fault_share"
        )


def _write(faults: Sequence[StoredFault], file: Path) -> None:
    rows = [asdict(fault) for fault in faults]
    payload = {"schema": SCHEMA, "version": mobile_vla.__version__, "faults": rows}
    write_text(file, json.dumps(payload, indent=1, ensure_ascii=False))
