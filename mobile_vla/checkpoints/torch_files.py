"""Files of `torch.save`, opened without running anything that they ask for.

In: a file. Out: its content, memory-mapped. Before torch reads it, the archive is checked to hold no more than the
file has bytes; torch then takes nothing but tensors and plain values (`weights_only`). A file that asks for more is
refused by the name of what it asks for, unless its user says that it can be trusted.
"""

import contextlib
import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobile_vla.checkpoints.opened import Opened, TensorSpec, Weights, name_dtype
from mobile_vla.checkpoints.plain import make_plain
from mobile_vla.core.errors import UserError

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
SECTIONS = (
    "state_dict",
    "model_state_dict",
    "module",
    "model",
)  # under which weights are found, the first that has any
LEFT_OUT = ("optimizer_states", "optimizer", "optimizer_state_dict", "lr_schedulers")  # large, and no description
MAX_DIRECTORY_BYTES = 64 * 2**20  # of an archive: about a million records
MAX_PICKLE_BYTES = 256 * 2**20  # what is no tensor is read into memory
MAX_OLD_BYTES = 4 * 2**30  # the old form cannot be mapped
REASON = re.compile(r"WeightsUnpickler error: (.+)")  # what torch says, in the middle of long advice
KNOWN = ("torch.", "collections.OrderedDict", "_codecs.encode")  # what any checkpoint asks for
END, END_64 = b"PK\x05\x06", b"PK\x06\x06"  # records that say how large an archive's directory is


def open_torch(file: Path, trust: bool) -> Opened:
    """`UserError` for whatever is damaged, too large for what it holds, or not to be trusted."""
    content = load(file, trust)
    section, weights = find_weights(content, file)
    specs = describe(weights)
    mapped = is_archive(file)
    again = mapped and not trust  # what a trusted file asks for is run once

    def reload() -> Callable[[str], Tensor]:
        return find_weights(load(file, trust), file)[1].__getitem__

    top = content if isinstance(content, Mapping) else {}
    left_out = {*LEFT_OUT, section} if section else {*LEFT_OUT, *weights}
    notes = []
    if trust:
        notes.append("trust=true: whatever this file asked for was imported and run")
    if not mapped:
        notes.append("saved in torch's old form: read into memory as a whole")
    return Opened(
        path=file,
        container="torch" if mapped else "torch, old form",
        files=(file,),
        weights=Weights(specs, reload if again else lambda: weights.__getitem__),
        section=section,
        beside={str(key): make_plain(value) for key, value in top.items() if key not in left_out},
        notes=tuple(notes),
    )


def is_archive(file: Path) -> bool:
    with file.open("rb") as handle:
        return handle.read(4) == ZIP


def load(file: Path, trust: bool) -> Any:
    """The content; tensors of an archive are views of the mapped file."""
    mapped = is_archive(file)
    if mapped:
        check_archive(file)
    elif file.stat().st_size > MAX_OLD_BYTES:
        raise UserError(
            f"{file} is {file.stat().st_size / 1e9:.1f} GB in torch's old form, which must be read into memory as a "
            f"whole; expected at most {MAX_OLD_BYTES / 1e9:.1f} GB: save it anew with a current torch"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols: what cannot be read is an error
            return torch.load(file, map_location="cpu", weights_only=not trust, mmap=mapped)
    except Exception as error:  # torch raises a dozen kinds, and a trusted file whatever it likes
        wanted = list_wanted(file) if isinstance(error, pickle.UnpicklingError) and not trust else []
        if wanted:
            raise UserError(
                f"{file} holds more than weights: loading it would import {', '.join(wanted)}, which can run anything; "
                "nothing was loaded. If you know where it comes from: trust=true, or save it anew with weights only"
            ) from error
        told = REASON.search(str(error))
        reason = (told[1] if told else str(error).strip().split("\n")[0] or type(error).__name__)[:160]
        raise UserError(f"{file} cannot be read as a checkpoint: {reason}") from error


def list_wanted(file: Path) -> list[str]:
    """What a file asks for beyond tensors, as module.name; its pickle is read as a list of words and not followed."""
    if is_archive(file):
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            pickles = io.BytesIO(archive.read(name))
    else:
        with file.open("rb") as handle:
            pickles = io.BytesIO(handle.read(MAX_PICKLE_BYTES))
    found, words = set(), []
    with contextlib.suppress(Exception):  # behind the pickles of the old form there are the tensors' bytes
        while True:
            for operation, argument, _ in pickletools.genops(pickles):
                if operation.name == "GLOBAL":
                    found.add(str(argument).replace(" ", "."))
                elif operation.name == "STACK_GLOBAL":
                    found.add(".".join(words[-2:]))
                elif isinstance(argument, str):
                    words.append(argument)
    return sorted(name for name in found if not name.startswith(KNOWN))[:8]


def check_archive(file: Path) -> None:
    """`UserError` unless the archive is as torch writes it: whole, uncompressed, and no larger inside than outside."""
    size = file.stat().st_size
    if _find_directory_bytes(file) > MAX_DIRECTORY_BYTES:
        raise UserError(f"{file} lists too many records to be a checkpoint (its directory is over 64 MB)")
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is damaged or was cut off: {error}; get it again from where it came") from error
    names = [record.filename.partition("/")[2] for record in records]
    if "data.pkl" not in names:
        raise UserError(f"{file} is a zip archive, but no checkpoint of torch: it holds no data.pkl")
    if "constants.pkl" in names:
        raise UserError(f"{file} is a TorchScript program, not a checkpoint: expected a file of torch.save")
    packed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
    declared = sum(record.file_size for record in records)
    if packed or declared > size:
        raise UserError(
            f"{file} declares {declared:,} bytes inside a file of {size:,} ({len(packed)} compressed "
            "records, torch writes none): it would unfold beyond measure, and was not opened"
        )
    pickled = max(record.file_size for record, name in zip(records, names, strict=True) if name == "data.pkl")
    if pickled > MAX_PICKLE_BYTES:
        raise UserError(
            f"{file} holds {pickled / 1e6:.0f} MB besides its tensors, expected at most {MAX_PICKLE_BYTES / 1e6:.0f}"
        )


def _find_directory_bytes(file: Path) -> int:
    """As the archive's last records say; 0 where there are none, which `zipfile` then complains of."""
    with file.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - 2**16 - 128))
        tail = handle.read()
    large, small = tail.rfind(END_64), tail.rfind(END)
    if large >= 0 and len(tail) >= large + 48:
        return struct.unpack_from("<Q", tail, large + 40)[0]
    if small >= 0 and len(tail) >= small + 16:
        return struct.unpack_from("<I", tail, small + 12)[0]
    return 0


def find_weights(content: Any, file: Path) -> tuple[str, dict[str, Tensor]]:
    """Under which key the tensors lie ("" for the top), and the tensors by name."""
    if isinstance(content, Mapping):
        for section in (*SECTIONS, ""):
            part = content.get(section) if section else content
            if isinstance(part, Mapping):
                found = {str(name): value.detach() for name, value in part.items() if isinstance(value, Tensor)}
                if found:
                    return section, found
    keys = (
        f"the keys {[str(key)[:40] for key in content][:8]}" if isinstance(content, Mapping) else type(content).__name__
    )
    raise UserError(
        f"{file} holds no weights that could be found: expected tensors by name, at the top or under one of "
        f"{', '.join(SECTIONS)}; it holds {keys}"
    )


def describe(weights: Mapping[str, Tensor]) -> dict[str, TensorSpec]:
    """A tensor's place is its storage and which of its values it takes: torch saves a shared storage once."""
    specs = {}
    for name, tensor in weights.items():
        if tensor.layout is torch.strided and tensor.numel():
            start = tensor.untyped_storage().data_ptr()
            place = (start, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        else:
            place = name
        specs[name] = TensorSpec(shape=tuple(tensor.shape), dtype=name_dtype(tensor.dtype), place=place)
    return specs
