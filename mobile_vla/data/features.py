"""What the frozen part of a model makes of frames and texts, computed once and read from then on.

One memory-mapped `.npy` an episode, or an episode and a text, with a row for each frame; called by the episode's
fingerprint (the content of its file, whatever its name) and the text's token ids, written beside and renamed: whoever
finds the name finds the whole content, and any number of processes may share the folder. The folder is that of one
model (its name says all else that the content depends on), and a row is what that model computes, to the last bit.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mobile_vla.core.durable import replaced
from mobile_vla.data.packed.mapping import MAX_MAPS, map_npy
from mobile_vla.data.packed.marks import write_header
from mobile_vla.data.requests import Pairs
from mobile_vla.data.stills import Still
from mobile_vla.sources.schema import Episode

Kind = Literal["image_tokens", "states", "contexts"]  # of a frame; of a frame and a text; the same, at the end
CODES = {torch.float32: "<f4", torch.float16: "<f2", torch.bfloat16: "<i2"}  # numpy has no bfloat16: its bits
DTYPES = {np.dtype(code): dtype for dtype, code in CODES.items()}


@dataclass(frozen=True)
class FeatureFiles:
    """A folder of such files, all of one kind."""

    folder: Path
    kind: Kind

    @property
    def prefix(self) -> str:
        """What the places of its files begin with (`marks`)."""
        return feature_prefix(self.folder)

    def path(self, episode: Episode, text: Sequence[int]) -> Path:
        """text: token ids, without padding; image tokens depend on none."""
        of = (episode.fingerprint, () if self.kind == "image_tokens" else tuple(text))
        name = hashlib.sha256(repr(of).encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.npy"

    def load(self, episode: Episode, text: Sequence[int]) -> np.ndarray | None:
        """(frames, ...), mapped; None where there is no file, or none that is whole."""
        if not episode.fingerprint:
            return None
        found = map_npy(self.path(episode, text))
        whole = found is not None and len(found) == episode.num_frames and found.dtype in DTYPES
        return found if whole else None

    def write(self, episode: Episode, text: Sequence[int], rows: Tensor) -> None:
        """rows: (frames, ...) of all frames of the episode."""
        values = rows.detach().cpu().contiguous()
        bits = values.view(torch.int16) if values.dtype == torch.bfloat16 else values
        path = self.path(episode, text)
        path.parent.mkdir(parents=True, exist_ok=True)
        array = bits.numpy().astype(CODES[values.dtype], copy=False)
        with replaced(path, sync=False) as part, part.open("wb") as file:
            write_header(file, array, f"{self.prefix}{path.stem}")
            file.write(array.data)  # NumPy's own writing does not say that a disk is full


def feature_prefix(folder: Path) -> str:
    return f"features/{folder.name}/"


class FeatureReader:
    """Finds what a batch needs; each process, and each thread, has its own."""

    def __init__(self, files: FeatureFiles):
        self.files = files
        self._maps: OrderedDict[tuple[str, tuple[int, ...]], np.ndarray] = OrderedDict()

    def read(
        self,
        pairs: Pairs,
        episodes: Sequence[Episode],
        text_ids: Int[Tensor, "I T"],
        text_mask: Bool[Tensor, "I T"],
    ) -> Tensor | None:
        """A row for each frame (`image_tokens`) or pair of the batch; None unless all of them are there.

        Of sequences of several lengths the shorter are padded with zeros on the right.
        """
        if self.files.kind == "image_tokens":
            wanted = [(shown, ()) for shown in pairs.frames]
        elif any(map(any, pairs.hidden)):
            return None  # what a decoder makes of fewer image tokens is not here
        else:
            texts = [tuple(ids[mask].tolist()) for ids, mask in zip(text_ids, text_mask, strict=True)]
            frames = list(pairs.frames)
            wanted = [(frames[f], texts[t]) for f, t in zip(pairs.frame_of, pairs.text_of, strict=True)]
        groups: dict[tuple[int, tuple[int, ...]], tuple[list[int], list[int]]] = {}
        for row, (shown, text) in enumerate(wanted):
            if isinstance(shown, Still):
                return None
            rows, frames = groups.setdefault((shown[0], text), ([], []))
            rows.append(row)
            frames.append(shown[1])
        found = []
        for (episode, text), (rows, frames) in groups.items():
            stored = self._map(episodes[episode], text)
            if stored is None:
                return None
            found.append((rows, frames, stored))
        return _gather(found, len(wanted))

    def _map(self, episode: Episode, text: tuple[int, ...]) -> np.ndarray | None:
        key = episode.fingerprint, text
        if key not in self._maps:
            stored = self.files.load(episode, text)
            if stored is None:
                return None
            while len(self._maps) >= MAX_MAPS:
                self._maps.popitem(last=False)
            self._maps[key] = stored
        self._maps.move_to_end(key)
        return self._maps[key]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_maps": OrderedDict()}


def _gather(found: list[tuple[list[int], list[int], np.ndarray]], num_rows: int) -> Tensor:
    """Rows of several files, each at its place of the batch."""
    first = found[0][2]
    shape = [max(stored.shape[axis] for _, _, stored in found) for axis in range(1, first.ndim)]
    gathered = np.zeros((num_rows, *shape), first.dtype)
    for rows, frames, stored in found:
        gathered[(rows, *map(slice, stored.shape[1:]))] = stored[frames]
    values = torch.from_numpy(gathered)
    return values.view(torch.bfloat16) if DTYPES[first.dtype] == torch.bfloat16 else values
