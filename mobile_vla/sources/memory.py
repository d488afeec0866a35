"""Episodes that a program holds as arrays: from a notebook, a simulator, another library's loader.

In: a mapping an episode. Out: a source of them, for `mobile_vla.open_dataset`; a source of your own that extends
`EpisodeSource` hands out the same readers with `MemorySource(...).find(roots)`, and is trained on by its import path.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from mobile_vla.core.actions import COMPONENTS
from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import suggest
from mobile_vla.sources.reader import EpisodeReader, Facts, Frame, Root
from mobile_vla.sources.source import EpisodeSource

KEYS = ("frames", "actions", "instruction", "labels", "id")


@dataclass(frozen=True, eq=False)
class MemorySource(EpisodeSource):
    """episodes     mappings of
                    frames       (N, height, width, 3) uint8 RGB, or a list of N arrays, which may differ in size
                    actions      (N, A) numbers, one row a frame
                    instruction  a text; without one the settings give it
                    labels       name -> text, if any
                    id           what it is called; without one `episode_<number>`
    action_names  of the A columns

    The arrays are not copied, and must not be changed while they are in use. `UserError` names what is wrong.
    """

    reads_folders: ClassVar[bool] = False

    episodes: Sequence[Mapping[str, Any]] = field(repr=False)
    action_names: tuple[str, ...] = COMPONENTS
    name: str = field(default="memory", kw_only=True)

    def __post_init__(self):
        object.__setattr__(self, "action_names", tuple(self.action_names))
        known: dict[str, int] = {}
        for index, reader in enumerate(self._readers):
            if known.setdefault(reader.id, index) != index:
                raise UserError(f"episodes[{index}].id: '{reader.id}' is episodes[{known[reader.id]}]'s; give another")
        if not known:
            raise UserError("episodes: expected at least one, got none")

    def find(self, roots: Sequence[Root]) -> Sequence[EpisodeReader]:
        return self._readers

    def known_components(self) -> tuple[str, ...]:
        return self.action_names

    @cached_property
    def _readers(self) -> "list[ArrayReader]":
        return [_make_reader(index, given, self.action_names) for index, given in enumerate(self.episodes)]


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayReader(EpisodeReader):
    """One episode, held whole."""

    images: list[np.ndarray] = field(repr=False)
    recorded: Float[np.ndarray, "N A"] = field(repr=False)
    action_names: tuple[str, ...]
    instruction: str | None
    labels: Mapping[str, str]

    def read(self) -> Facts:
        return Facts(
            num_frames=len(self.images),
            resolution=self.images[0].shape[:2],
            actions=self.recorded,
            action_names=self.action_names,
            instruction=self.instruction,
            labels=self.labels,
            layout="memory",
        )

    def frames(self, low: int, high: int) -> list[Frame]:
        return [image.copy() for image in self.images[low:high]]

    def identity(self) -> tuple[object, ...]:
        return ("memory", self._digest)

    @cached_property
    def _digest(self) -> str:
        content = hashlib.sha256(repr((self.recorded.shape, self.recorded.dtype.str)).encode())
        content.update(self.recorded.tobytes())
        for image in self.images:
            content.update(repr(image.shape).encode())
            content.update(image.tobytes())
        return content.hexdigest()


def _make_reader(index: int, given: Any, names: tuple[str, ...]) -> ArrayReader:
    place = f"episodes[{index}]"
    if not isinstance(given, Mapping):
        raise UserError(f"{place}: expected a mapping of {', '.join(KEYS)}, got {type(given).__name__}")
    for key in given:
        if key not in KEYS:
            raise UserError(f"{place}: unknown key {key!r}{suggest(str(key), KEYS)} (there are {', '.join(KEYS)})")
    images = _read_images(given.get("frames"), f"{place}.frames")
    actions = np.asarray(given.get("actions"))
    if actions.ndim != 2 or actions.dtype.kind not in "fiu":
        raise UserError(f"{place}.actions: expected (N, A) numbers, got {_describe(given.get('actions'), actions)}")
    if actions.shape != (len(images), len(names)):
        raise UserError(
            f"{place}.actions: expected ({len(images)}, {len(names)}), a row for each frame and a column for each of "
            f"action_names={list(names)}, got {actions.shape}"
        )
    instruction, labels = given.get("instruction"), given.get("labels") or {}
    if instruction is not None and not isinstance(instruction, str):
        raise UserError(f"{place}.instruction: expected a text, got {type(instruction).__name__}")
    if not isinstance(labels, Mapping) or not all(isinstance(part, str) for pair in labels.items() for part in pair):
        raise UserError(f"{place}.labels: expected name -> text, got {labels!r:.80}")
    id = given.get("id", f"episode_{index:04}")
    if not isinstance(id, str) or not id:
        raise UserError(f"{place}.id: expected a text, got {id!r:.40}")
    return ArrayReader(
        id=id,
        path=Path("memory", id),
        images=images,
        recorded=actions,
        action_names=names,
        instruction=instruction,
        labels=dict(labels),
    )


def _read_images(given: Any, place: str) -> list[np.ndarray]:
    if not isinstance(given, list | tuple) and (whole := np.asarray(given)).ndim != 4:
        expected = "(N, height, width, 3) uint8, or a list of N frames"
        raise UserError(f"{place}: expected {expected}, got {_describe(given, whole)}")
    images = [np.asarray(image) for image in given]
    for number, image in enumerate(images):
        if not _is_image(image):
            raise UserError(f"{place}[{number}]: expected (height, width, 3) uint8, got {_describe(image, image)}")
    if not images:
        raise UserError(f"{place}: expected at least one frame, got none")
    return images


def _is_image(image: np.ndarray) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3 and 0 not in image.shape


def _describe(given: Any, array: np.ndarray) -> str:
    return "none" if given is None else f"{array.shape} {array.dtype}"
