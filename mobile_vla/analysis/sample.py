"""What the analysis looks at: one row an episode and progress bin, and what is known of each episode.

In: a store. Out: a `Sample` of its rows as recorded. The unit of every conclusion is the episode, and frames of one
episode are near copies of each other: more rows an episode would add cost and hardly anything else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.copies import find_copies, list_scripts
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.rows import LABEL
from mobile_vla.contexts.vectors import spread
from mobile_vla.errors import UserError

BINS = 5  # of progress: around 0, 25, 50, 75 and 100 %
MOST_EPISODES = 500  # that are looked at: an even sample of more
SESSION = "session"  # the label of episodes that were recorded together
DIRECTION = "direction"  # the label that an instruction may command


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Rows sorted by episode, then bin; E episodes, N rows.

    store        where they come from
    rows         (N,) indices into the store
    episode      (N,) index into `episodes`;  bin  (N,) of progress, 0 to BINS - 1
    episodes     names;  session  (E,) code of when it was recorded, all 0 where that is unknown
    instruction  (E,) texts
    labels       name -> (E,) values, None where unknown: of the labels that are constant within each episode
    copies       episodes left out as copies of another one
    total        episodes of the store, of which these are an even sample
    sessions_known  whether anything says which episodes were recorded together
    order        (E,) place of each episode in the order of recording; None where nothing says it
    label_notes  name -> why values of a label, or all of it, are not used, in words
    """

    store: Store
    rows: Int[np.ndarray, " N"]
    episode: Int[np.ndarray, " N"]
    bin: Int[np.ndarray, " N"]
    episodes: tuple[str, ...]
    session: Int[np.ndarray, " E"]
    instruction: tuple[str, ...]
    labels: Mapping[str, np.ndarray]
    copies: tuple[str, ...] = ()
    total: int = 0
    sessions_known: bool = False
    order: Int[np.ndarray, " E"] | None = None
    label_notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_episodes(self) -> int:
        return len(self.episodes)

    @cached_property
    def actions(self) -> Float[np.ndarray, "N C A"] | None:
        """True chunks, velocities, NaN where unknown; None where the store has none."""
        chunks = self.store.column("action")[self.rows]
        return chunks.astype(np.float64) if chunks.size and np.isfinite(chunks).any() else None

    @cached_property
    def progress(self) -> Float[np.ndarray, " N"]:
        return self.store.column("progress")[self.rows]

    def vectors(self, tap: str) -> Float[np.ndarray, "N D"]:
        """What the tap gave; tokens that were kept whole are laid side by side."""
        found = self.store.vectors(tap)[self.rows]
        return np.asarray(found, np.float32).reshape(len(self.rows), -1)

    def means(self, vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "E D"]:
        """Of each episode's rows."""
        sums = np.add.reduceat(vectors, self._firsts, axis=0, dtype=np.float64)
        return sums / np.bincount(self.episode)[:, None]

    @cached_property
    def meaning(self) -> tuple[str, ...]:
        """(E,) what the instruction asks for: the direction, where each text goes with one; else the text itself."""
        directions = self.labels.get(DIRECTION)
        if directions is None:
            return self.instruction
        asked: dict[str, set] = {}
        for text, direction in zip(self.instruction, directions, strict=True):
            asked.setdefault(text, set()).add(direction)
        clear = all(len(values) == 1 and None not in values for values in asked.values())
        return tuple(str(next(iter(asked[text]))) for text in self.instruction) if clear else self.instruction

    def keep(self, chosen: Sequence[int] | np.ndarray) -> "Sample":
        """Of these episodes only, in the order of their indices."""
        kept = np.unique(np.asarray(chosen, int))
        place = np.full(self.num_episodes, -1)
        place[kept] = np.arange(len(kept))
        rows = place[self.episode] >= 0
        return replace(
            self,
            rows=self.rows[rows],
            episode=place[self.episode[rows]],
            bin=self.bin[rows],
            episodes=tuple(self.episodes[index] for index in kept),
            session=self.session[kept],
            order=None if self.order is None else self.order[kept],
            instruction=tuple(self.instruction[index] for index in kept),
            labels={name: values[kept] for name, values in self.labels.items()},
        )

    @cached_property
    def rows_by_episode(self) -> list[Int[np.ndarray, " n"]]:
        """Of each episode, the places of its rows."""
        return np.split(np.arange(len(self.episode)), self._firsts[1:])

    @cached_property
    def _firsts(self) -> np.ndarray:
        return np.flatnonzero(np.diff(self.episode, prepend=-1))


def take_sample(store: Store, tap: str = "context", most: int = MOST_EPISODES) -> Sample:
    """Of the rows as recorded, the one nearest to the middle of each bin; `UserError` where there is none.

    tap  in which copies of an episode are looked for, and left out: they would count one recording twice
    """
    own = store.select()
    if not len(own):
        raise UserError(f"{store.folder}: no row is as recorded (variant 'own'); there is nothing to describe")
    names, episode = np.unique(store.column("episode")[own].astype(str), return_inverse=True)
    chosen = spread(len(names), most)
    bin, rows = _one_a_bin(store, own, episode)
    inside = np.isin(episode[rows], chosen)
    rows, bin = rows[inside], bin[inside]
    _, codes = np.unique(episode[rows], return_inverse=True)
    order = np.lexsort((bin, codes))
    rows, bin, codes = rows[order], bin[order], codes[order]
    firsts = np.flatnonzero(np.diff(codes, prepend=-1))
    labels = _constant_labels(store, own, episode, chosen)
    sessions = labels.pop(SESSION, np.full(len(chosen), None, object))
    texts = store.column("instruction")[own[rows]]
    sample = Sample(
        store=store,
        rows=own[rows],
        episode=codes,
        bin=bin,
        episodes=tuple(names[chosen].tolist()),
        session=np.unique([str(value) for value in sessions], return_inverse=True)[1],
        instruction=tuple(str(text) for text in texts[firsts]),
        labels=labels,
        total=len(names),
    )
    return _without_copies(sample, tap)


def bin_of(progress: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """The nearest of the bins' middles, which are 0, 1 / (BINS - 1), ..., 1."""
    return np.rint(progress * (BINS - 1)).astype(int)


def _one_a_bin(store: Store, own: np.ndarray, episode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bin and place among the own rows, of one row an episode and bin: the nearest to its middle, the first of such."""
    progress, frame = store.column("progress")[own], store.column("frame")[own]
    bin = bin_of(progress)
    away = np.abs(progress - bin / (BINS - 1))
    order = np.lexsort((frame, away, bin, episode))
    first = np.diff(episode[order] * BINS + bin[order], prepend=-1) != 0
    rows = order[first]
    return bin[rows], rows


def _constant_labels(store: Store, own: np.ndarray, episode: np.ndarray, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """(E,) of the chosen episodes, of the labels that have one known value at most in each episode."""
    found = {}
    for name in store.labels:
        values = store.column(f"{LABEL}{name}")[own]
        values = np.array([_as_text(value) for value in values], object)
        one: dict[int, object] = {}
        constant = all(
            one.setdefault(code, value) == value
            for code, value in zip(episode.tolist(), values, strict=True)
            if value is not None
        )
        if constant:
            found[name] = np.array([one.get(code) for code in chosen.tolist()], object)
    return found


def _as_text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_copies(sample: Sample, tap: str) -> Sample:
    """Without episodes that are exact or near copies of another one."""
    texts = np.unique(sample.instruction, return_inverse=True)[1]
    # Copies have their labels in common, but for those that are names.
    shared = [values for values in sample.labels.values() if len(set(values)) <= len(values) / 2]
    told = list(zip(sample.instruction, *shared, strict=True))
    cell = texts[sample.episode] * BINS + sample.bin
    copies = find_copies(sample.vectors(tap), sample.actions, cell, sample.rows_by_episode, told)
    if not copies:
        return sample
    left = np.setdiff1d(np.arange(sample.num_episodes), copies)
    return replace(sample.keep(left), copies=tuple(sample.episodes[index] for index in copies))


def count_scripts(sample: Sample) -> int:
    """How many different recordings there are: episodes whose chunks are the same all along count once.

    A keyboard's commands are few, and a driver repeats them: episodes of one script hold the same actions.
    """
    if sample.actions is None:
        return sample.num_episodes
    return len(set(list_scripts(sample.actions, sample.rows_by_episode)))
