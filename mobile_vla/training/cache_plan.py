"""Frozen work is done once: how much of it can be kept, of what, where, and what would be wrong or too large.

In: settings, a split of episodes. Out: a `CachePlan`, which the user reads before anything is computed. What would be
wrong is refused by name; `auto` takes the deepest that is right and has room. See `feature_cache` for how it is made.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from mobile_vla.core.errors import UserError
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.features import feature_prefix
from mobile_vla.data.packed.marks import KEY, list_marked
from mobile_vla.data.requests import Intervention, WindowRequest
from mobile_vla.models.backbones.loading import Source
from mobile_vla.models.frozen import DEPTHS, Depth, Frozen, find_frozen
from mobile_vla.sources.schema import Episode
from mobile_vla.taps.points import PIXELS, Tap
from mobile_vla.training.augmentation import AugmentationConfig

GB = 10**9
CONTENT = "content.json"  # says of which model the folder's files are


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """What is kept of frozen work.

    at      how deep: `image_tokens`, `states` (of the text decoder, in front of its first trained layer), `contexts`;
            `none`; `auto` is the deepest that is right and has room
    max_gb  no more than this;  dir  where: shared by all trainings
    """

    at: Literal["auto", "none", "image_tokens", "states", "contexts"] = "auto"
    max_gb: float = 20.0
    dir: str = "~/.cache/mobile_vla/features"

    def __post_init__(self):
        if not self.max_gb > 0:
            raise UserError(f"must be positive, got {self.max_gb:g}; cache.at=none keeps nothing", argument="max_gb")


@dataclass(frozen=True)
class Wanted:
    """An episode's frames (all of them) with each of these texts, as token ids."""

    episode: Episode
    texts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """depth: `frames` where nothing is kept;  num_bytes: of all that is wanted;  notes: for the user to read."""

    depth: Depth
    wanted: tuple[Wanted, ...] = ()
    num_bytes: int = 0
    folder: Path = Path()
    notes: tuple[str, ...] = ()


def find_usable(source: Source, augmentation: AugmentationConfig, taps: Sequence[Tap]) -> Frozen:
    """How deep work may be kept in a training that augments frames so, and stores what these taps hold."""
    frozen = find_frozen(source.config, source.sketch)
    if augmentation.is_on:
        frozen = frozen.but_not_behind("frames", "augmentation changes the frames at every step")
    for tap in taps:
        if tap.name == PIXELS:
            continue  # read from the frames of the few rows that are stored, apart from the model (`epoch_store`)
        if tap.rows == "frame" and not tap.is_image_tokens:
            frozen = frozen.but_not_behind("frames", f"callbacks.probe.taps has {tap.name}, which is read on the way")
        elif tap.rows in ("frame", "pair"):
            frozen = frozen.but_not_behind(
                "image_tokens", f"callbacks.probe.taps has {tap.name}, which is read on the way"
            )
    return frozen


def plan_cache(
    config: CacheConfig,
    frozen: Frozen,
    source: Source,
    data: EpisodeDataModule,
    interventions: Callable[[], Iterable[Intervention]],
    dtype: torch.dtype,
) -> CachePlan:
    """For the training and validation episodes; `interventions` are those that the validation ones are shown under.

    `UserError` where the depth that was asked for would be wrong, or has no room.
    """
    folder = Path(config.dir).expanduser()
    if config.at == "none":
        return CachePlan(depth="frames")
    if config.at != "auto" and not frozen.reaches(config.at):
        deepest = "none" if frozen.depth == "frames" else frozen.depth
        raise UserError(
            f"would be wrong: {frozen.why}; the deepest here is cache.at={deepest}",
            argument="cache.at",
            value=config.at,
        )
    asked = (config.at,) if config.at != "auto" else DEPTHS[DEPTHS.index(frozen.depth) : 0 : -1]
    notes = []
    for depth in asked:
        wanted = tuple(_find_wanted(depth, data, () if depth == "image_tokens" else list(interventions())))
        num_bytes = sum(_count_bytes(depth, one, source, dtype) for one in wanted)
        lacking = _find_lack(num_bytes, config, folder)
        if lacking is None:
            return CachePlan(depth=depth, wanted=wanted, num_bytes=num_bytes, folder=folder, notes=tuple(notes))
        line = f"{depth} are not kept: {say_bytes(num_bytes)}, {lacking}"
        if config.at != "auto":
            raise UserError(line, argument="cache.at", value=depth)
        notes.append(line)
    return CachePlan(depth="frames", notes=tuple(notes))


def describe_plan(plan: CachePlan, frozen: Frozen) -> list[str]:
    """What is kept, before it is made; nothing where nothing can be."""
    if plan.depth == "frames":
        return list(plan.notes)
    deeper = f" (not deeper: {frozen.why})" if frozen.why and plan.depth == frozen.depth else ""
    kept = f"{plan.depth} are computed once and kept: {say_bytes(plan.num_bytes)} in {plan.folder}{deeper}"
    return [*plan.notes, kept]


def _find_wanted(depth: Depth, data: EpisodeDataModule, interventions: Collection[Intervention]) -> Iterator[Wanted]:
    """What the windows of training and validation show, as recorded and changed."""
    found: dict[str, tuple[Episode, dict[str, None]]] = {}
    for part in ("train", "validation"):
        episodes = data.episodes(part)
        for index in range(len(episodes)):
            own = WindowRequest(episode=index, start=0)
            changed = [change(own) for change in interventions] if part == "validation" else []
            for request in [own, *(request for request in changed if request is not None)]:
                shown = episodes[request.episode if request.donor is None else request.donor]
                text = request.instruction if request.instruction is not None else episodes[index].instruction
                found.setdefault(shown.id, (shown, {}))[1].setdefault(text)
    for episode, texts in found.values():
        yield Wanted(episode, ((),) if depth == "image_tokens" else tuple(_tokenize(data, text) for text in texts))


def _tokenize(data: EpisodeDataModule, text: str) -> tuple[int, ...]:
    ids, mask = data.tokenize([text])
    return tuple(ids[mask].tolist())


def _count_bytes(depth: Depth, wanted: Wanted, source: Source, dtype: torch.dtype) -> int:
    """Of an episode's rows with all of its texts."""
    backbone = source.sketch
    width, num_image = backbone.context_width, backbone.num_image_tokens
    if depth == "image_tokens":
        rows = num_image
    elif depth == "contexts":
        rows = len(wanted.texts)
    else:
        lengths = torch.tensor([[len(text)] for text in wanted.texts])
        masks = torch.arange(int(lengths.max())) < lengths
        action, _ = backbone.layout.ends(num_image, masks)
        rows = int((action + 1).sum())
    return wanted.episode.num_frames * rows * width * dtype.itemsize


def _find_lack(num_bytes: int, config: CacheConfig, folder: Path) -> str | None:
    if num_bytes > config.max_gb * GB:
        return f"more than cache.max_gb={config.max_gb:g}"
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    taken = sum(path.stat().st_size for path in list_kept(folder))  # what is there already, or makes room
    free = shutil.disk_usage(there).free + taken
    return f"and {say_bytes(free)} are free at {there}; set cache.dir" if num_bytes > free else None


def name_content(content: Mapping[str, object]) -> str:
    """The folder of a model's files is called by a hash of all that they depend on."""
    plain = json.loads(json.dumps(content))  # as it comes back from its file
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def list_kept(folder: Path, pattern: re.Pattern[str] = KEY) -> list[Path]:
    """The files that trainings have kept below it, each with the mark of its own place (`data.marks`).

    `cache.dir` may hold anything else, which is not ours to count or to remove: in a folder that is not called by the
    hash of its `content.json`, or that is a link, nothing is ours.
    """
    models = [content.parent for content in folder.glob(f"*/{CONTENT}") if _is_own(content)]
    return [path for model in sorted(models) for path in list_marked(model, feature_prefix(model), pattern)]


def _is_own(content: Path) -> bool:
    if content.is_symlink() or content.parent.is_symlink():
        return False
    try:
        known = json.loads(content.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(known, dict) and name_content(known) == content.parent.name


def say_bytes(num_bytes: int) -> str:
    return f"{num_bytes / GB:.2f} GB" if num_bytes >= GB / 10 else f"{num_bytes / 10**6:.1f} MB"
