"""What the analysis looks at: one row an episode and progress bin, and what is known of each episode.

In: a store. Out: a `Sample` of its rows as recorded. The unit of every conclusion is the episode, and frames of one
episode are near copies of each other: more rows an episode would add cost and hardly anything else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from mobile_vla.analysis.copies import Clusters, link_commanded_alike, link_equal, list_scripts, merge_labels
from mobile_vla.analysis.episode_labels import read_episode_labels
from mobile_vla.analysis.recording import find_recording
from mobile_vla.analysis.tracks import link_one_track
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.vectors import spread
from mobile_vla.core.errors import UserError

BINS = 5  # of progress: around 0, 25, 50, 75 and 100 %
MOST_EPISODES = 500  # that are looked at: an even sample of more
TRAIN = "train"  # the part of the split that a run was trained on
FEWEST_LEFT = 8  # episodes: below, nothing is concluded
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
    sessions_known  whether the session of every episode is known;  sessions_by  in words, what says which it is
    order        (E,) place of each episode in the order of recording, None where nothing says it;
                 ordered_by  in words, what says it
    label_notes  name -> why values of a label, or all of it, are not used, in words
    clusters     names of episodes that are one recording, the one that is kept first
    trained      (E,) whether rows of the episode were trained on, as far as the store says
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
    sessions_by: str = ""
    order: Int[np.ndarray, " E"] | None = None
    ordered_by: str = ""
    label_notes: Mapping[str, str] = field(default_factory=dict)
    clusters: tuple[tuple[str, ...], ...] = ()
    trained: Bool[np.ndarray, " E"] | None = None

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
            order=None if self.order is None else np.argsort(np.argsort(self.order[kept])),
            trained=None if self.trained is None else self.trained[kept],
            instruction=tuple(self.instruction[index] for index in kept),
            labels={name: values[kept] for name, values in self.labels.items()},
        )

    @property
    def num_trained(self) -> int:
        """Episodes that the model was trained on."""
        return 0 if self.trained is None else int(self.trained.sum())

    def without_trained(self) -> "Sample | None":
        """Of the episodes only that the model was not trained on; None where too few are left to conclude anything."""
        left = np.arange(self.num_episodes) if self.trained is None else np.flatnonzero(~self.trained)
        return self.keep(left) if len(left) >= FEWEST_LEFT else None

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
    place = np.full(len(names), -1)
    place[chosen] = np.arange(len(chosen))
    of = place[episode]
    own, of = own[of >= 0], of[of >= 0]
    bin, rows = _one_a_bin(store, own, of)
    order = np.lexsort((bin, of[rows]))
    rows, bin = rows[order], bin[order]
    firsts = np.flatnonzero(np.diff(of[rows], prepend=-1))
    episodes = tuple(names[chosen].tolist())
    labels = read_episode_labels(store, own, of, episodes)
    recording = find_recording(episodes, labels, own[np.unique(of, return_index=True)[1]])
    texts = store.column("instruction")[own[rows]]
    used = {name: label for name, label in labels.items() if name not in recording.spent}
    sample = Sample(
        store=store,
        rows=own[rows],
        episode=of[rows],
        bin=bin,
        episodes=episodes,
        session=recording.session,
        instruction=tuple(str(text) for text in texts[firsts]),
        labels={name: label.values for name, label in used.items() if label.usable},
        total=len(names),
        sessions_known=recording.known,
        sessions_by=recording.told_by,
        order=recording.order,
        ordered_by=recording.ordered_by,
        label_notes={**{name: label.note for name, label in used.items() if label.note}, **recording.spent},
        trained=np.bincount(of, store.column("part")[own] == TRAIN, minlength=len(episodes)) > 0,
    )
    return _without_copies(sample, tap, own, of)


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


def _without_copies(sample: Sample, tap: str, own: np.ndarray, of: np.ndarray) -> Sample:
    """With one episode of each recording: that which has most rows, the first of such.

    own, of  all rows as recorded, and the episode of each"""
    store = sample.store
    order = np.lexsort((store.column("frame")[own], of))
    counts = np.bincount(of, minlength=sample.num_episodes)
    rows = np.split(own[order], np.cumsum(counts)[:-1])
    clusters = Clusters(sample.num_episodes)
    found = store.column("fingerprint")
    prints = [found[of_one[0]] or None for of_one in rows]
    if len(set(prints)) == 1:  # one for all is not of the episodes' content
        prints = [None] * len(rows)
    link_equal(clusters, prints)
    vectors = sample.vectors(tap)
    link_equal(clusters, [vectors[places].tobytes() for places in sample.rows_by_episode])
    # Copies have their labels in common, but for those that are names.
    shared = {name: values for name, values in sample.labels.items() if len(set(values)) <= len(values) / 2}
    if sample.actions is not None:
        cell = np.unique(sample.instruction, return_inverse=True)[1][sample.episode] * BINS + sample.bin
        told = list(zip(sample.instruction, *shared.values(), strict=True))
        link_commanded_alike(clusters, vectors, sample.actions, cell, sample.rows_by_episode, told)
    del vectors
    taken = store.vectors(tap)
    width = int(np.prod(store.taps[tap].shape))
    actions = None if sample.actions is None else store.column("action")
    link_one_track(
        clusters, lambda some: np.asarray(taken[some], np.float32).reshape(-1, width), width, rows, actions, prints
    )
    return _keep_one_each(sample, clusters.members(), counts, list(shared))


def _keep_one_each(sample: Sample, clusters: list[list[int]], counts: np.ndarray, shared: Sequence[str]) -> Sample:
    """counts: rows of each episode;  shared: labels in which copies are to agree"""
    if not clusters:
        return sample
    ordered = [sorted(members, key=lambda one: (-counts[one], one)) for members in clusters]
    trained = None if sample.trained is None else sample.trained.copy()
    if trained is not None:
        for members in ordered:
            trained[members[0]] = trained[members].any()
    labels, said = merge_labels({name: sample.labels[name] for name in shared}, ordered, sample.episodes)
    notes = {name: "; ".join(filter(None, (sample.label_notes.get(name), note))) for name, note in said.items()}
    copies = sorted(one for members in ordered for one in members[1:])
    merged = replace(
        sample, labels={**sample.labels, **labels}, label_notes={**sample.label_notes, **notes}, trained=trained
    )
    return replace(
        merged.keep(np.setdiff1d(np.arange(sample.num_episodes), copies)),
        copies=tuple(sample.episodes[one] for one in copies),
        clusters=tuple(tuple(sample.episodes[one] for one in members) for members in ordered),
    )


def count_scripts(sample: Sample) -> int:
    """How many different recordings there are: episodes whose chunks are the same all along count once.

    A keyboard's commands are few, and a driver repeats them: episodes of one script hold the same actions.
    """
    if sample.actions is None:
        return sample.num_episodes
    return len(set(list_scripts(sample.actions, sample.rows_by_episode)))
