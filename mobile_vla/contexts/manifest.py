"""`manifest.json`: what a store holds and what it was made with. A store is `complete` when this file says so.

In and out: the file, plain json that any program can read. The places of all other files of a store are here too.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import mobile_vla
from mobile_vla.contexts.npy import Checksum
from mobile_vla.contexts.precision import PRECISIONS, STORED, Precision
from mobile_vla.contexts.rows import RowId
from mobile_vla.core.durable import write_text
from mobile_vla.core.errors import UserError
from mobile_vla.core.members import name_members

SCHEMA = 1
MANIFEST = "manifest.json"
ROWS = "rows.parquet"  # the table of a complete store
SHARDS = "shards"  # its vectors: <tap>/<number>.npy
PLAN = "plan.arrow"  # who is to come, until the store is complete
PARTS = "parts"  # what has come, until the store is complete: <rank>/<number>/
SHARD_BYTES = 2**25  # of the widest tap, at most


@dataclass(frozen=True, kw_only=True)
class TapSpec:
    """What one tap gives for a row: a shape, without the row's own dimension, and how it is stored."""

    shape: tuple[int, ...]
    dtype: Precision = "float32"

    def __post_init__(self):
        if self.dtype not in PRECISIONS:
            raise UserError(f"dtype of a tap: expected one of {', '.join(PRECISIONS)}, got '{self.dtype}'")

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape)) * STORED[self.dtype].itemsize


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """What the rows were made with; plain values that json can hold.

    configuration      all settings that a context depends on, and none that it does not (devices, workers, folders):
                       a store is continued only with equal ones
    fingerprints       name -> of checkpoint, base weights, data, ...; they must be equal too
    run                where it comes from, for people; it may differ
    steps, components  of a chunk, where rows have any
    """

    configuration: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    components: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """planned, plan: number and checksum of the planned rows. rows, episodes and checksums: of a complete store."""

    taps: Mapping[str, TapSpec]
    info: StoreInfo
    planned: int
    plan: str
    shard_rows: int
    complete: bool = False
    rows: int | None = None
    episodes: int | None = None
    checksums: Mapping[str, Checksum] = field(default_factory=dict)

    @property
    def num_shards(self) -> int:
        return -(-self.planned // self.shard_rows)

    def shard(self, tap: str, number: int) -> str:
        """Where the shard lies, below the store's folder."""
        return f"{SHARDS}/{name_folders(self.taps)[tap]}/{number:05d}.npy"

    def to_json(self) -> dict[str, Any]:
        folders = name_folders(self.taps)
        taps = {name: {**asdict(spec), "folder": folders[name]} for name, spec in self.taps.items()}
        content = {"schema": SCHEMA, "version": mobile_vla.__version__, **asdict(replace(self, taps={})), "taps": taps}
        content |= content.pop("info")
        return json.loads(json.dumps(content, allow_nan=False))

    def save(self, folder: Path) -> None:
        write_text(folder / MANIFEST, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")


def load_manifest(folder: Path) -> Manifest:
    """What the store in this folder says of itself; `UserError` where there is none or it is not known."""
    file = folder / MANIFEST
    if not file.is_file():
        inside = sorted(path.parent for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/{MANIFEST}"))
        hint = f"did you mean {inside[0]}?" if inside else "expected the folder of a store of contexts"
        raise UserError(f"{folder}: {'no ' + MANIFEST + ' there' if folder.is_dir() else 'no such folder'}; {hint}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        schema = content["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not the manifest of a store of contexts ({error}); restore it") from error
    if schema != SCHEMA:
        raise UserError(
            f"{file}: schema {schema} is not known, expected {SCHEMA}; it was written by version "
            f"{content.get('version')}, this is {mobile_vla.__version__}"
        )
    taps = {n: TapSpec(shape=tuple(tap["shape"]), dtype=tap["dtype"]) for n, tap in content["taps"].items()}
    names = ("configuration", "fingerprints", "run", "steps")
    info = StoreInfo(**{name: content[name] for name in names}, components=tuple(content["components"]))
    names = ("planned", "plan", "shard_rows", "complete", "rows", "episodes")
    sums = {name: Checksum(**checksum) for name, checksum in content["checksums"].items()}
    return Manifest(taps=taps, info=info, checksums=sums, **{name: content[name] for name in names})


def plan_manifest(
    planned: Sequence[RowId], taps: Mapping[str, TapSpec], info: StoreInfo, shard_rows: int | None
) -> Manifest:
    """The manifest of a store to be. Shards hold the same number of rows, the last one the rest."""
    assert taps, "a store of no taps"
    widest = max(spec.row_bytes for spec in taps.values())
    return Manifest(
        taps={name: taps[name] for name in sorted(taps)},
        info=info,
        planned=len(planned),
        plan=hash_plan(planned),
        shard_rows=shard_rows or max(1, SHARD_BYTES // widest),
    )


def hash_plan(planned: Iterable[RowId]) -> str:
    """Of the identities in their order."""
    digest = hashlib.sha256()
    for id in planned:
        digest.update(json.dumps(id).encode() + b"\n")
    return digest.hexdigest()


def list_differences(there: Manifest, now: Manifest) -> list[str]:
    """What keeps rows of `now` from being rows of the store that is there, in words."""
    found = []
    old, new = there.to_json(), now.to_json()
    for one in (old, new):
        one["configuration"] = name_members(one["configuration"])
    if old["plan"] != new["plan"]:
        found.append(f"other rows are planned (there {old['planned']}, now {new['planned']})")
    for part in ("taps", "fingerprints", "steps", "components", "configuration"):
        before, after = flatten({part: old[part]}), flatten({part: new[part]})
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                found.append(f"{key} is {_show(before, key)} there and {_show(after, key)} now")
    return found


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def name_folders(taps: Iterable[str]) -> dict[str, str]:
    """A folder name for each tap, whatever the tap is called; different ones also where case does not count."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for tap in sorted(taps):
        plain = re.sub(r"[^\w.-]+", "-", tap).strip(".-")[:80] or "tap"
        name, number = plain, 2
        while name.lower() in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name.lower())
        folders[tap] = name
    return folders


def _show(flat: Mapping[str, Any], key: str) -> str:
    if key not in flat:
        return "not set"
    text = json.dumps(flat[key], ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
