"""Which rows two stores have in common: comparing anything else compares the episodes, not the models.

In: two stores. Out: a `Matching` with two samples of the same rows in the same order, or in words why there is none.

A row is the same where episode, frame and instruction are. Where no instruction is the same in both (one store knows
none, or was probed with other prompts), episode and frame decide, and the sentence says so. The same name is not yet
the same row: another recording, true action or progress under it is counted as misaligned and left out, and with it an
episode of which that is told more than now and then: its other rows agree by chance, as first frames do.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mobile_vla.analysis.sample import BINS, MOST_EPISODES, Sample, bin_of, take_sample
from mobile_vla.analysis.verdicts.verdict import FEWEST
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.vectors import spread
from mobile_vla.core.plural import plural

ACTION_STEP, PROGRESS_STEP = 1e-3, 5e-3  # what dumps lose by rounding
MOST_MISALIGNED = 0.2  # of an episode's rows: above, it is another episode of the same name
MOST_VALUES = 2**26  # of a sample: wide taps are compared over fewer episodes
NAMES = ("A", "B")  # of two stores, where nothing better is known
UNNAMED = "component_"  # before the number of an action component whose name is not known

Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Matching:
    """left, right  samples of the same rows, in one order: one row an episode and bin
    rows, episodes  that both stores hold, before the sample
    of_left, of_right   rows as recorded of each store
    misaligned      why rows of the same name are not the same -> how many
    contradicted    label -> episodes for which the two stores know different values
    by              what a row goes by
    names           what the two are called in sentences
    """

    left: Sample
    right: Sample
    rows: int
    episodes: int
    of_left: int
    of_right: int
    misaligned: Mapping[str, int]
    contradicted: Mapping[str, int]
    by: str
    names: tuple[str, str] = NAMES

    @property
    def sentence(self) -> str:
        told = (
            f"{self.rows:,} of {self.of_left:,} rows of {self.names[0]} and of {self.of_right:,} of {self.names[1]} "
            f"matched by {self.by}, from {self.episodes:,} episodes"
        )
        if self.misaligned:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.misaligned.items())
            told += f"; {sum(self.misaligned.values()):,} of the same name left out as misaligned: {reasons}"
        if self.contradicted:
            labels = ", ".join(f"{name} in {plural(count, 'episode')}" for name, count in self.contradicted.items())
            told += f"; the two contradict each other on {labels}"
        copies = set(self.left.copies) | set(self.right.copies)
        if copies:
            told += f"; {plural(len(copies), 'episode')} left out as copies of another"
        return f"{told}; compared: {len(self.left.rows):,} rows of {self.left.num_episodes:,} episodes"

    def to_plain(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "rows": {"matched": self.rows, "left": self.of_left, "right": self.of_right},
            "episodes": {"matched": self.episodes, "compared": self.left.num_episodes},
            "rows_compared": len(self.left.rows),
            "misaligned": dict(self.misaligned),
            "contradicted": dict(self.contradicted),
            "sentence": self.sentence,
        }


def match_stores(
    left: Store, right: Store, tap: str = "context", most: int = MOST_EPISODES, names: tuple[str, str] = NAMES
) -> Matching | str:
    """Of the rows as recorded; both samples are without episodes that are copies of another in either."""
    stores = (left, right)
    missing = [name for name, store in zip(names, stores, strict=True) if tap not in store.taps]
    if missing:
        return f"no tap '{tap}' in {' and '.join(missing)}"
    own = [store.select() for store in stores]
    for by in (("episode", "frame", "instruction"), ("episode", "frame")):
        pairs = _find_shared(stores, own, by)
        if len(pairs):
            break
    else:
        return "no episode and frame is in both stores: they were probed on other data, or name it otherwise"
    reasons = _find_misaligned(stores, pairs)
    whole = _find_other_episodes(left.column("episode")[pairs[:, 0]], reasons != "")
    reasons[whole & (reasons == "")] = "of an episode whose other rows are not the same"
    misaligned = Counter(reason for reason in reasons if reason)
    if len(by) == 3:
        others = len(_find_shared(stores, own, ("episode", "frame"))) - len(pairs)
        misaligned += Counter({"with another instruction": max(others, 0)})
    aligned = pairs[[reason == "" for reason in reasons]]
    samples = _take_samples(stores, aligned, tap, most)
    episodes = len(set(left.column("episode")[aligned[:, 0]]))
    matching = Matching(
        left=samples[0],
        right=samples[1],
        rows=len(aligned),
        episodes=episodes,
        of_left=len(own[0]),
        of_right=len(own[1]),
        misaligned=dict(misaligned.most_common()),
        contradicted=_find_contradicted(*samples),
        by="episode, frame and instruction" if len(by) == 3 else "episode and frame, as their instructions all differ",
        names=names,
    )
    episode_names = left.column("episode")[pairs[:, 0]]
    if len(set(episode_names[whole])) > len(set(episode_names)) / 2:
        return f"most episodes of the same name are not the same ones: {matching.sentence}"
    if matching.left.num_episodes < FEWEST:
        return f"at least {FEWEST} episodes must be in both stores: {matching.sentence}"
    return matching


def _find_shared(stores: Sequence[Store], own: Sequence[np.ndarray], by: Sequence[str]) -> Int[np.ndarray, "n 2"]:
    """Rows of left and of right that go by the same values, in left's order; the first where several do."""
    left, right = (_index_rows(store, rows, by) for store, rows in zip(stores, own, strict=True))
    return np.array([(row, right[key]) for key, row in left.items() if key in right], int).reshape(-1, 2)


def _index_rows(store: Store, rows: np.ndarray, by: Sequence[str]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for row, key in zip(rows.tolist(), zip(*(store.column(name)[rows].tolist() for name in by)), strict=True):
        found.setdefault(key, row)
    return found


def _find_misaligned(stores: Sequence[Store], pairs: np.ndarray) -> np.ndarray:
    """(n,) why the two rows are not the same; empty where they are."""

    def read(name: str) -> list[np.ndarray]:
        return [store.column(name)[rows] for store, rows in zip(stores, pairs.T, strict=True)]

    fingerprints, progress = read("fingerprint"), read("progress")
    reasons = np.full(len(pairs), "", object)
    reasons[np.abs(progress[0] - progress[1]) > PROGRESS_STEP] = "at another progress"
    if _same_components(stores):
        chunks = read("action")
        steps = min(chunk.shape[1] for chunk in chunks)
        apart = np.abs(chunks[0][:, :steps] - chunks[1][:, :steps])  # NaN where one is not known
        reasons[(apart > ACTION_STEP).any(axis=(1, 2))] = "with another true action"
    known = np.array([one is not None and other is not None for one, other in zip(*fingerprints, strict=True)], bool)
    reasons[known & (fingerprints[0] != fingerprints[1])] = "of another recording"
    return reasons


def _find_other_episodes(names: np.ndarray, apart: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Of each row, whether it is of an episode of which too many rows are misaligned."""
    _, codes = np.unique(names.astype(str), return_inverse=True)
    share = np.bincount(codes, apart) / np.bincount(codes)
    return share[codes] > MOST_MISALIGNED


def _find_contradicted(left: Sample, right: Sample) -> dict[str, int]:
    """Labels that both know of some episode, with different values."""
    found = {}
    for name in sorted(left.labels.keys() & right.labels.keys()):
        both = zip(left.labels[name].tolist(), right.labels[name].tolist(), strict=True)
        if count := sum(one is not None and other is not None and one != other for one, other in both):
            found[name] = count
    return found


def _same_components(stores: Sequence[Store]) -> bool:
    """Whether both know chunks, of the same components as far as they are named."""
    names = [store.manifest.info.components for store in stores]
    named = all(name and not name[0].startswith(UNNAMED) for name in names)
    return len(names[0]) == len(names[1]) > 0 and (not named or names[0] == names[1])


def _take_samples(stores: Sequence[Store], pairs: np.ndarray, tap: str, most: int) -> list[Sample]:
    """One row an episode and bin, the nearest to its middle among those that both hold."""
    whole = [take_sample(store, tap, most=len(store)) for store in stores]
    places = [{name: place for place, name in enumerate(sample.episodes)} for sample in whole]
    names = stores[0].column("episode")[pairs[:, 0]]
    kept = np.array([name in places[0] and name in places[1] for name in names], bool)
    pairs, names = pairs[kept], names[kept]
    shared, code = np.unique(names.astype(str), return_inverse=True)
    width = max(int(np.prod(store.taps[tap].shape)) for store in stores)
    chosen = np.isin(code, spread(len(shared), min(most, max(FEWEST, MOST_VALUES // (BINS * width)))))
    pairs, code = pairs[chosen], code[chosen]
    progress = stores[0].column("progress")[pairs[:, 0]]
    bin = bin_of(progress)
    away = np.abs(progress - bin / (BINS - 1))
    order = np.lexsort((stores[0].column("frame")[pairs[:, 0]], away, bin, code))
    first = order[np.diff(code[order] * BINS + bin[order], prepend=-1) != 0]
    return [
        replace(
            sample,
            rows=pairs[first, side],
            episode=np.array([place[name] for name in shared[code[first]]], int),
            bin=bin[first],
        ).keep([place[name] for name in shared[np.unique(code)]])
        for side, (sample, place) in enumerate(zip(whole, places, strict=True))
    ]
