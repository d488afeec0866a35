"""Makes a sampling plan, checks it, and says plainly what is not as it was asked for.

In: episodes (id, length, labels) and a `PlanConfig`. Out: a `SamplingPlan`, a pure function of both: the order of the
episodes means nothing. Imports no torch.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import starmap
from pathlib import Path
from typing import Protocol, runtime_checkable

from mobile_vla.contexts.reader import open_store
from mobile_vla.contexts.rows import OWN
from mobile_vla.core.errors import UserError
from mobile_vla.probing.allocation import allocate
from mobile_vla.probing.plans import BINS, DEFAULT_LABEL, PlanConfig, SamplingPlan, Stratum, name_bin

STORE = "contexts"  # below a probe's folder
FEW = 5  # episodes: with fewer, five folds cannot each hold one out
UNEVEN = 3.0  # times as many episodes in one stratum as in another


@runtime_checkable
class SampledEpisode(Protocol):
    """What a plan needs to know of an episode."""

    @property
    def id(self) -> str: ...

    @property
    def num_frames(self) -> int: ...

    @property
    def labels(self) -> Mapping[str, str]: ...

    def label(self, name: str) -> str: ...


def make_plan(episodes: Sequence[SampledEpisode], config: PlanConfig) -> SamplingPlan:
    """The rows of these episodes; `UserError` for a label that none of them has, or bounds that cannot be met."""
    if not episodes:
        raise UserError("there are no episodes to take contexts of; choose another split or data.root", argument="plan")
    _refuse_unknown_labels(episodes, config)
    if config.of is not None:
        return _plan_again(episodes, config, read_frames(config.of))
    members: dict[str, list[SampledEpisode]] = defaultdict(list)
    for episode in episodes:
        members[_stratum(episode, config)].append(episode)
    names = sorted(members)
    sizes = [len(members[name]) for name in names]
    asked, taken = _deal(sizes, config) if config.kind == "stratified" else (sizes, sizes)
    chosen = {name: _choose(members[name], count, config.seed) for name, count in zip(names, taken, strict=True)}
    frames = {
        episode.id: frames_of(episode.num_frames, config)
        for episode in sorted((e for some in chosen.values() for e in some), key=lambda episode: episode.id)
    }
    strata = tuple(
        Stratum(
            name=name,
            available=len(members[name]),
            available_frames=sum(episode.num_frames for episode in members[name]),
            asked=wanted,
            taken=count,
            rows=sum(len(frames[episode.id]) for episode in chosen[name]),
        )
        for name, wanted, count in zip(names, asked, taken, strict=True)
    )
    plan = SamplingPlan(
        config=config,
        frames=frames,
        strata=strata,
        by_progress=_count_progress(frames, {episode.id: episode.num_frames for episode in episodes}),
        warnings=(),
    )
    return replace(plan, warnings=tuple(_check(plan)))


def _plan_again(
    episodes: Sequence[SampledEpisode], config: PlanConfig, frames: Mapping[str, tuple[int, ...]]
) -> SamplingPlan:
    """The rows that another store holds; `UserError` that names what is missing here."""
    known = {episode.id: episode for episode in episodes}
    gone = sorted(id for id in frames if id not in known)
    if gone:
        raise UserError(
            f"{len(gone)} of its {len(frames)} episodes are not among the "
            f"{len(known)} that were chosen (first: {gone[0]}); choose them too (split=all, or the data.root of that "
            "probe)",
            argument="plan.of",
            value=config.of,
        )
    short = [id for id, wanted in frames.items() if wanted[-1] >= known[id].num_frames]
    if short:
        raise UserError(
            f"{len(short)} episodes are shorter here (first: {short[0]} has "
            f"{known[short[0]].num_frames} frames, wanted is frame {frames[short[0]][-1]}); expected the same episodes",
            argument="plan.of",
            value=config.of,
        )
    members: dict[str, list[SampledEpisode]] = defaultdict(list)
    for episode in episodes:
        members[_stratum(episode, config)].append(episode)
    strata = []
    for name in sorted(members):
        again = [episode for episode in members[name] if episode.id in frames]
        strata.append(
            Stratum(
                name=name,
                available=len(members[name]),
                available_frames=sum(episode.num_frames for episode in members[name]),
                asked=len(again),
                taken=len(again),
                rows=sum(len(frames[episode.id]) for episode in again),
            )
        )
    plan = SamplingPlan(
        config=config,
        frames={id: frames[id] for id in sorted(frames)},
        strata=tuple(strata),
        by_progress=_count_progress(frames, {episode.id: episode.num_frames for episode in episodes}),
        warnings=(),
    )
    return replace(plan, warnings=tuple(_check(plan)))


def read_frames(folder: str) -> dict[str, tuple[int, ...]]:
    """Of each episode of a store, or of the store in a probe's folder, the frames that it holds as recorded."""
    place = Path(folder).expanduser()
    try:
        store = open_store(place / STORE if (place / STORE).is_dir() else place)
    except UserError as error:
        raise error.but(argument="plan.of") from error
    found: dict[str, set[int]] = defaultdict(set)
    names, frames, variants = (store.column(name) for name in ("episode", "frame", "variant"))
    for name, frame, variant in zip(names, frames, variants, strict=True):
        if variant == OWN:
            found[str(name)].add(int(frame))
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def frames_of(num_frames: int, config: PlanConfig) -> tuple[int, ...]:
    """The wanted frames of a chosen episode of this length, ascending, each once."""
    if config.kind == "stratified":
        return tuple(sorted({round(share * (num_frames - 1)) for share in config.progress}))
    return tuple(range(0, num_frames, 1 if config.kind == "all" else config.n))


def _deal(sizes: list[int], config: PlanConfig) -> tuple[list[int], list[int]]:
    """Episodes asked of each stratum as if all were large enough, and episodes taken."""
    least = config.minimum * len(sizes)
    if least > config.episodes:
        raise UserError(
            f"probe.plan.minimum={config.minimum} for each of {len(sizes)} strata needs {least} episodes, but "
            f"probe.plan.episodes={config.episodes}; raise that, or lower the minimum"
        )
    most = config.episodes if config.maximum is None else config.maximum
    weights = [1] * len(sizes) if config.balanced else sizes
    low, high = [config.minimum] * len(sizes), [most] * len(sizes)
    asked = allocate(weights, low, high, min(config.episodes, sum(high)))
    if config.balanced:  # what one stratum lacks is not given to another: that would undo the balance
        return asked, [min(want, size) for want, size in zip(asked, sizes, strict=True)]
    low = [min(config.minimum, size) for size in sizes]
    high = [min(most, size) for size in sizes]
    return asked, allocate(weights, low, high, min(config.episodes, sum(high)))


def _choose(episodes: Sequence[SampledEpisode], count: int, seed: int) -> list[SampledEpisode]:
    """By a hash of seed and id: a larger plan holds the smaller one, and a new episode displaces at most one."""

    def draw(episode: SampledEpisode) -> bytes:
        return hashlib.sha256(json.dumps([seed, episode.id]).encode()).digest()

    return sorted(episodes, key=draw)[:count]


def _stratum(episode: SampledEpisode, config: PlanConfig) -> str:
    return ", ".join(f"{name}={episode.label(name)}" for name in config.by) or "all"


def _refuse_unknown_labels(episodes: Sequence[SampledEpisode], config: PlanConfig) -> None:
    known = sorted({name for episode in episodes for name in episode.labels})
    for name in config.by:
        if name not in known and name != DEFAULT_LABEL:  # files may well lack the default one
            near = get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            there = f"there are {known}" if known else "these have none at all: an empty list goes without"
            raise UserError(f"no episode has a label '{name}'; {hint}{there}", argument="plan.by")


def _count_progress(frames: Mapping[str, Sequence[int]], lengths: Mapping[str, int]) -> tuple[int, ...]:
    """Rows in each fifth of the way; the last frame belongs to the last fifth."""

    def fifth(frame: int, num_frames: int) -> int:
        return min(BINS * frame // max(num_frames - 1, 1), BINS - 1)

    rows = [(frame, lengths[episode]) for episode, wanted in frames.items() for frame in wanted]
    counts = Counter(starmap(fifth, rows))
    return tuple(counts[i] for i in range(BINS))


def _check(plan: SamplingPlan) -> list[str]:
    """What is not as it was asked for, or too little to compare."""
    config, found = plan.config, []
    if config.kind == "stratified" and config.of is None:
        total, available = sum(stratum.asked for stratum in plan.strata), sum(s.available for s in plan.strata)
        if total < config.episodes:
            found.append(f"plan.maximum={config.maximum} allows {total} of the {config.episodes} episodes")
        if len(plan.frames) < total and not config.balanced:
            found.append(f"there are {available} episodes, {total} were asked for")
        for stratum in plan.strata:
            if stratum.available < stratum.asked and (config.balanced or stratum.available < config.minimum):
                found.append(f"stratum {stratum.name} has {stratum.available} episodes, {stratum.asked} were asked for")
        short = sum(len(frames) < len(set(config.progress)) for frames in plan.frames.values())
        if short:
            lost = len(plan.frames) * len(set(config.progress)) - plan.num_rows
            found.append(f"{short} episodes are too short for {len(set(config.progress))} frames: {lost} rows fewer")
    empty = [name_bin(i) for i, count in enumerate(plan.by_progress) if not count]
    if empty:
        found.append(f"no rows at {', '.join(empty)} of the way")
    for stratum in plan.strata:
        if stratum.taken < FEW and len(plan.strata) > 1:
            found.append(f"stratum {stratum.name} is too small to compare: {stratum.taken} episodes, fewer than {FEW}")
    taken = {stratum.name: stratum.taken for stratum in plan.strata}
    most, fewest = max(taken, key=taken.__getitem__), min(taken, key=taken.__getitem__)
    if taken[most] > UNEVEN * taken[fewest]:
        remedy = "; plan.balanced=true takes as many of each" if _can_balance(plan) else ""
        found.append(f"strata are uneven: {taken[most]} episodes with {most}, {taken[fewest]} with {fewest}{remedy}")
    return found


def _can_balance(plan: SamplingPlan) -> bool:
    return plan.config.kind == "stratified" and plan.config.of is None and not plan.config.balanced
