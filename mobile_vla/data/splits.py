"""Training, validation and test by whole episodes, stratified by label, fixed by seed, stored with the run.

Exact copies of an episode, and on request the episodes of one session, are never divided between parts. The stored
split knows each episode by a fingerprint of its content, so that it is recognised whatever its file is called later
(`held_out`).
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import mobile_vla
from mobile_vla.core.durable import write_text
from mobile_vla.core.errors import UserError
from mobile_vla.data.dealing import deal_groups, round_shares
from mobile_vla.sources.schema import Episode

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
SCHEMA = 2
SHARE = 0.15  # of the episodes that validate, or test, where nothing else is set
ENOUGH, FEWEST = 40, 8  # episodes: to judge contexts on; that a test is worth having


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Shares of the episodes (the rest trains), the labels that are kept in proportion, and the seed.

    validation, test  shares; null chooses them by the number of episodes (`resolve`)
    group  a label whose values are never divided between parts, for example `session` (the day); an episode without
           it is a group of its own
    seed   the split's own: another training seed must not change what is held out. With few groups it has little to
           choose from: it decides between dealings that keep the shares equally well
    """

    validation: float | None = None
    test: float | None = None
    by: tuple[str, ...] = ("direction",)
    group: str | None = None
    seed: int = 0

    def __post_init__(self):
        validation, test = self.validation, self.test
        if (validation is not None and not 0 < validation < 1) or (test is not None and not 0 <= test < 1):
            self._refuse()
        if (validation or 0) + (test or 0) >= 1:
            self._refuse()

    def _refuse(self) -> None:
        raise ValueError(
            f"data.split: shares must leave room for training and validation, got "
            f"validation={self.validation}, test={self.test}"
        )

    def resolve(self, num_episodes: int) -> np.ndarray:
        """The shares of training, validation and test, as fractions of this many episodes.

        What contexts can be shown to hold is judged on the validation episodes, and below 40 of them most answers are
        "undecided". So without a setting 15 % validate, but at least 40 episodes, or a third where a third is less.
        Another 15 % are for the test, as far as a third of all is not exceeded together; none where that would be
        fewer than 8 episodes. A share that is given stands, and the other one is chosen: 15 % for the test.
        """
        third = math.ceil(num_episodes / 3)
        if self.validation is not None:
            validation, test = self.validation, SHARE if self.test is None else self.test
        else:
            held_out = max(round(SHARE * num_episodes), min(ENOUGH, third))
            validation, test = held_out / num_episodes, self.test
            if test is None:
                number = min(round(SHARE * num_episodes), third - held_out)
                test = number / num_episodes if number >= FEWEST else 0.0
        if validation + test >= 1:
            raise UserError(
                f"data.split: nothing is left for training: {validation:.0%} validation and {test:.0%} test of "
                f"{num_episodes} episodes; lower data.split.test or data.split.validation"
            )
        return np.array([1 - validation - test, validation, test])

    def stratum(self, episode: Episode) -> tuple[str, ...]:
        return tuple(episode.label(name) for name in self.by)


@dataclass(frozen=True)
class Split:
    """Ids of the episodes of each part, sorted."""

    parts: dict[Part, tuple[str, ...]]

    def of(self, episodes: Sequence[Episode], part: Part) -> list[Episode]:
        """The episodes of a part, in the order of their ids; `UserError` if one of them is gone."""
        known = {episode.id: episode for episode in episodes}
        gone = [id for id in self.parts[part] if id not in known]
        if gone:
            raise UserError(
                f"the run's {part} split names {len(gone)} episodes that are not in data.root any more "
                f"(first: {gone[0]}); restore them, or start a new run with train config=<run>/config.yaml"
            )
        return [known[id] for id in self.parts[part]]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What an episode was when the split was stored."""

    file: str
    fingerprint: str
    instruction: str
    num_frames: int


@dataclass(frozen=True)
class StoredSplit(Split):
    """A run's split as it comes back, and what its episodes were (id -> `Recorded`).

    unknown  why it is not known what the run was trained on, where that is so; all parts are empty then
    """

    recorded: Mapping[str, Recorded]
    unknown: str | None = None

    def without(self, files: Collection[str]) -> "StoredSplit":
        """The same split, as far as it is not in these files."""
        kept = {id: episode for id, episode in self.recorded.items() if episode.file not in files}
        return StoredSplit({part: tuple(id for id in ids if id in kept) for part, ids in self.parts.items()}, kept)


def make_split(episodes: Sequence[Episode], config: SplitConfig) -> Split:
    """Deal episodes so that every stratum, and the whole, keep the shares: to within one episode where each stands
    for itself, else as nearly as whole groups can.

    A pure function of ids, labels, fingerprints and configuration: the order of the files means nothing.
    """
    if len(episodes) < 2:
        raise UserError(
            f"data.split: {len(episodes)} good episodes cannot be split into training and validation; record more, or "
            "set another data.root"
        )
    shares = config.resolve(len(episodes))
    groups = find_groups(episodes, config.group)
    rng = np.random.default_rng(config.seed)
    alone = len(groups) == len(episodes)
    parts = _deal_single(episodes, config, shares, rng) if alone else _deal_whole(groups, config, shares, rng)
    if not parts["train"] or not parts["validation"]:
        raise UserError(
            f"data.split: {len(episodes)} good episodes cannot be split into training and validation "
            f"({shares[1]:.0%} validation, {shares[2]:.0%} test); record more, or raise data.split.validation"
        )
    return Split({part: tuple(sorted(ids)) for part, ids in parts.items()})


def find_groups(episodes: Sequence[Episode], group: str | None) -> list[list[Episode]]:
    """Episodes that must stay together: same value of the label `group`, or same content, or a chain of both."""
    episodes = sorted(episodes, key=lambda episode: episode.id)
    keys: dict[tuple[str, str], int] = {}  # what episodes share -> its node, after those of the episodes
    links = []
    for index, episode in enumerate(episodes):
        shared = [("content", episode.fingerprint)] if episode.fingerprint else []
        if group is not None and group in episode.labels:
            shared.append(("group", episode.labels[group]))
        links += [(index, keys.setdefault(key, len(episodes) + len(keys))) for key in shared]
    size = len(episodes) + len(keys)
    ends = np.array(links, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links)), (ends[0], ends[1])), shape=(size, size))
    component = connected_components(graph, directed=False)[1]
    found: dict[int, list[Episode]] = defaultdict(list)
    for index, episode in enumerate(episodes):
        found[int(component[index])].append(episode)
    return list(found.values())


def _deal_single(
    episodes: Sequence[Episode], config: SplitConfig, shares: np.ndarray, rng: np.random.Generator
) -> dict[Part, list[str]]:
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for episode in episodes:
        strata[config.stratum(episode)].append(episode.id)
    counts = round_shares(np.array([len(strata[key]) for key in sorted(strata)]), shares)
    parts: dict[Part, list[str]] = {part: [] for part in PARTS}
    for key, row in zip(sorted(strata), counts, strict=True):
        ids = sorted(strata[key])
        dealt = np.split(rng.permutation(len(ids)), np.cumsum(row)[:-1])
        for part, chosen in zip(PARTS, dealt, strict=True):
            parts[part] += [ids[i] for i in chosen]
    return parts


def _deal_whole(
    groups: list[list[Episode]], config: SplitConfig, shares: np.ndarray, rng: np.random.Generator
) -> dict[Part, list[str]]:
    """Groups of the same make-up are one kind: how many of it go where is one question, which of them another."""
    if len(groups) < 2:
        cause, remedy = "exact copies of one episode", "record more"
        if config.group is not None:
            cause = f"data.split.group={config.group}, and exact copies stay together"
            remedy = f"record another {config.group}, or set data.split.group=null"
        raise UserError(
            f"data.split: {len(groups[0])} good episodes are 1 group ({cause}), but training and validation need one "
            f"each; {remedy}"
        )
    strata = sorted({config.stratum(episode) for group in groups for episode in group})
    kinds: dict[tuple[int, ...], list[list[Episode]]] = defaultdict(list)
    for group in groups:
        counts = Counter(config.stratum(episode) for episode in group)
        kinds[tuple(counts[stratum] for stratum in strata)].append(group)
    needed = np.array([True, True, shares[2] > 0 and len(groups) > 2])
    sizes = np.array([len(kinds[kind]) for kind in sorted(kinds)])
    dealt = deal_groups(np.array(sorted(kinds)), sizes, shares, needed, rng)
    parts: dict[Part, list[str]] = {part: [] for part in PARTS}
    for kind, row in zip(sorted(kinds), dealt, strict=True):
        which = np.split(rng.permutation(len(kinds[kind])), np.cumsum(row)[:-1])
        for part, chosen in zip(PARTS, which, strict=True):
            parts[part] += [episode.id for i in chosen for episode in kinds[kind][i]]
    return parts


def save_split(split: Split, episodes: Sequence[Episode], config: SplitConfig, file: Path) -> None:
    """`split.json`: the episodes of each part and what they are, and the counts by stratum."""
    known = {episode.id: episode for episode in episodes}
    content = {
        "schema": SCHEMA,
        "version": mobile_vla.__version__,
        "seed": config.seed,
        "by": list(config.by),
        "group": config.group,
        "counts": {part: len(ids) for part, ids in split.parts.items()},
        "strata": {
            part: dict(Counter("/".join(config.stratum(known[id])) for id in ids)) for part, ids in split.parts.items()
        },
        "splits": {
            part: [{"episode": id, **asdict(_record(known[id]))} for id in ids] for part, ids in split.parts.items()
        },
    }
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False))


def save_unknown_split(reason: str, file: Path) -> None:
    """`split.json` of a run that was not trained here."""
    empty: dict[str, list] = {part: [] for part in PARTS}
    content = {"schema": SCHEMA, "version": mobile_vla.__version__, "unknown": reason, "splits": empty}
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False))


def load_split(file: Path) -> StoredSplit:
    """The split of a run; `UserError` if there is none, or one of another schema."""
    if not file.is_file():
        raise UserError(f"{file}: no such file, so it is not known which episodes the run was trained on; restore it")
    content = json.loads(file.read_text(encoding="utf-8"))
    if content.get("schema") != SCHEMA:
        raise UserError(f"{file}: schema {content.get('schema')} is not known, expected {SCHEMA}")
    rows = {part: content["splits"][part] for part in PARTS}
    names = [field.name for field in fields(Recorded)]
    return StoredSplit(
        {part: tuple(row["episode"] for row in rows[part]) for part in PARTS},
        {row["episode"]: Recorded(**{name: row[name] for name in names}) for part in PARTS for row in rows[part]},
        content.get("unknown"),
    )


def _record(episode: Episode) -> Recorded:
    return Recorded(
        file=episode.place,
        fingerprint=episode.fingerprint,
        instruction=episode.instruction,
        num_frames=episode.num_frames,
    )
