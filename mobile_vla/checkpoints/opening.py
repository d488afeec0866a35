"""Opens a checkpoint, whatever wrote it: a file, the shards of a folder, or the best checkpoint of a run.

In: a path. Out: an `Opened`. Nothing in a checkpoint is run, imported or used as a path outside its folder; what
cannot be opened that way is a `UserError` of one line. What a file *is* is told by its content, never by its name.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from mobile_vla.checkpoints import choosing
from mobile_vla.checkpoints.opened import Opened, Weights
from mobile_vla.checkpoints.safetensors_files import open_safetensors
from mobile_vla.checkpoints.torch_files import PICKLE, ZIP, open_torch
from mobile_vla.core.errors import UserError

STANDARD = {  # weights that folders hold, by name, and the configuration that goes with them
    "adapter_model.safetensors": "adapter_config.json",
    "adapter_model.bin": "adapter_config.json",
    "model.safetensors": "config.json",
    "pytorch_model.bin": "config.json",
}
INDEX = ".index.json"
DEEPSPEED = ("*_model_states.pt", "*/*_model_states.pt", "*_optim_states.pt", "*/*_optim_states.pt")
MAX_JSON_BYTES = 32 * 2**20
MISTAKEN = {  # what is found in place of a checkpoint, by its first bytes
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`",
    b"\x89HDF": "an HDF5 file of episodes, not of weights",
    b"<": "a web page or XML: the download did not bring the file itself",
}


def open_checkpoint(path: Path, trust: bool = False) -> Opened:
    """`trust` lets a torch file import and run what it asks for; without it such a file is refused."""
    if path.is_dir():
        return _open_folder(path, trust)
    if not path.exists():
        raise UserError("there is no such file or folder", argument="path", value=path)
    if path.name.endswith(INDEX):
        return _open_shards(path, trust)
    opened = _open_file(path, trust)
    return replace(opened, config=_read_json(path.parent / STANDARD[path.name]) if path.name in STANDARD else {})


def _open_file(file: Path, trust: bool) -> Opened:
    try:
        with file.open("rb") as handle:
            start = handle.read(32)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
    if start.startswith((ZIP, PICKLE)):
        return open_torch(file, trust)
    if start[8:9] == b"{":  # behind the length of the header
        return open_safetensors(file)
    if not start:
        raise UserError(f"{file} is empty; get it again from where it came")
    known = next((what for first, what in MISTAKEN.items() if start.startswith(first)), None)
    known = known or f"no checkpoint (it begins with {start[:12]!r})"
    raise UserError(f"{file} is {known}; expected a file of torch.save or safetensors")


def _open_folder(folder: Path, trust: bool) -> Opened:
    if (folder / choosing.FOLDER).is_dir() and (folder / "config.yaml").is_file():
        return _open_run(folder, trust)
    for name in STANDARD:
        if (folder / name).is_file():
            return replace(open_checkpoint(folder / name, trust), path=folder)
        if (folder / f"{name}{INDEX}").is_file():
            return replace(_open_shards(folder / f"{name}{INDEX}", trust), path=folder)
    states = sorted({file for pattern in DEEPSPEED for file in folder.glob(pattern)})
    if states:
        weights = Weights({}, lambda: {}.__getitem__)
        return Opened(path=folder, container="deepspeed", files=tuple(states), weights=weights)
    there = sorted(file.name for file in folder.iterdir())[:8]
    raise UserError(
        f"holds no checkpoint that could be found: expected a run's folder, one of {', '.join(STANDARD)} "
        f"(or its shards), or the path of a file; it holds {there}",
        argument="path",
        value=folder,
    )


def _open_run(folder: Path, trust: bool) -> Opened:
    files = sorted(file.name for file in (folder / choosing.FOLDER).glob("*.ckpt"))
    notes = ()
    try:
        file = choosing.choose_checkpoint(folder, "best")
    except UserError as error:
        file = choosing.choose_checkpoint(folder, "last")
        notes = (f"the last checkpoint, for want of the best: {error}",)
    opened = _open_file(file, trust)
    others = tuple(name for name in files if name != file.name)
    return replace(opened, others=others, notes=(*opened.notes, *notes))


def _open_shards(index: Path, trust: bool) -> Opened:
    """The files that an index lists, as one; each must lie beside it and hold what the index says."""
    placed = _read_json(index).get("weight_map")
    if not isinstance(placed, Mapping) or not all(isinstance(shard, str) for shard in placed.values()):
        raise UserError(f"{index} is no index of shards: expected 'weight_map', file names by tensor")
    shards = Counter(placed.values())
    for shard in shards:
        if Path(shard).name != shard or "\\" in shard or shard in ("", ".", ".."):
            raise UserError(f"{index} names a file outside its folder ({shard!r}): refused, nothing was opened")
    absent = [shard for shard in sorted(shards) if not (index.parent / shard).is_file()]
    if absent:
        raise UserError(
            f"{index.parent} lacks {len(absent)} of {len(shards)} shards: {absent[0]} is not there, with "
            f"{sum(shards[shard] for shard in absent)} of {len(placed)} tensors"
        )
    opened = {shard: _open_file(index.parent / shard, trust) for shard in sorted(shards)}
    lost = [name for name, shard in placed.items() if name not in opened[shard].weights.specs]
    if lost:
        raise UserError(
            f"{index.parent}: {len(lost)} of {len(placed)} tensors of the index are not in the shard that it names: "
            f"{lost[0]} is not in {placed[lost[0]]}"
        )
    specs = {name: opened[shard].weights.specs[name] for name, shard in placed.items()}
    # Storages are told apart by their address, which says nothing between files.
    specs = {name: replace(spec, place=(placed[name], spec.place)) for name, spec in specs.items()}
    base = index.name.removesuffix(INDEX)
    return Opened(
        path=index,
        container=next(iter(opened.values())).container,
        files=tuple(index.parent / shard for shard in opened),
        weights=Weights(specs, partial(_read_from, opened, placed)),
        config=_read_json(index.parent / STANDARD[base]) if base in STANDARD else {},
        notes=tuple(dict.fromkeys(note for part in opened.values() for note in part.notes)),
    )


def _read_from(opened: Mapping[str, Opened], placed: Mapping[str, str]) -> Callable[[str], Tensor]:
    return lambda name: opened[placed[name]].weights.read(name)


def _read_json(file: Path) -> dict[str, Any]:
    """Settings by name; {} where there is no such file."""
    if not file.is_file():
        return {}
    if file.stat().st_size > MAX_JSON_BYTES:
        raise UserError(f"{file} is {file.stat().st_size / 1e6:.0f} MB: too large to be a configuration")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{file} is no JSON: {str(error)[:160]}") from error
    if not isinstance(values, dict):
        raise UserError(f"{file} is not what it should be: expected settings by name")
    return values
