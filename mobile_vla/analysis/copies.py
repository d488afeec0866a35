"""Which episodes are copies of another one: a recording counts once, however often it is stored.

In: of each episode its rows' vectors, what was recorded in it and what it was told. Out: of each episode the first one
of its cluster. Two episodes are one recording where any of these holds:

    the same content      the fingerprints of frames and actions are the same, whatever the instruction
    the same vectors      to the last digit
    the same commands     the actions all along, the instruction and the labels are the same, and the vectors less
                          than a tenth as far apart as those of episodes with one instruction are
    one track             the vectors of one lie along those of the other, nearer than its own next row (`tracks`)

The commands alone would not do: a keyboard's are few, and a driver repeats them in other scenes.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.contexts.vectors import spread

NEAR = 0.1  # of the usual distance between episodes of one instruction
MOST_DIMENSIONS = 4096  # that distances are measured in: an even sample of more
ACTION_DIGITS = 3


class Clusters:
    """Episodes that are linked, directly or through others (single linkage)."""

    def __init__(self, number: int):
        self._of = list(range(number))

    def first(self, episode: int) -> int:
        """The earliest episode of its cluster."""
        while self._of[episode] != episode:
            self._of[episode] = self._of[self._of[episode]]
            episode = self._of[episode]
        return episode

    def link(self, one: int, other: int) -> None:
        low, high = sorted((self.first(one), self.first(other)))
        self._of[high] = low

    def members(self) -> list[list[int]]:
        """Clusters of more than one episode, each in the order of its episodes."""
        found: dict[int, list[int]] = {}
        for episode in range(len(self._of)):
            found.setdefault(self.first(episode), []).append(episode)
        return [members for members in found.values() if len(members) > 1]


def link_equal(clusters: Clusters, keys: Iterable[Hashable | None]) -> None:
    """Episodes with the same key are one; None is no key."""
    seen: dict[Hashable, int] = {}
    for episode, key in enumerate(keys):
        if key is not None:
            clusters.link(seen.setdefault(key, episode), episode)


def link_commanded_alike(
    clusters: Clusters,
    vectors: Float[np.ndarray, "N D"],
    actions: Float[np.ndarray, "N C A"],
    cell: Int[np.ndarray, " N"],
    rows: Sequence[np.ndarray],
    told: Sequence[Hashable],
) -> None:
    """Near copies with the same commands all along.

    cell  of each row, its instruction and progress bin;  rows  of each episode;  told  of each episode, what its copies
    have in common with it beside the actions
    """
    groups: dict[Hashable, list[int]] = {}
    for episode, script in enumerate(list_scripts(actions, rows)):
        groups.setdefault((told[episode], tuple(cell[rows[episode]].tolist()), script), []).append(episode)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return
    left = vectors[:, spread(vectors.shape[1], MOST_DIMENSIONS)].astype(np.float32)
    for one in np.unique(cell):
        inside = cell == one
        left[inside] -= left[inside].mean(axis=0, dtype=np.float64)
    freedom = max(len(cell) - len(np.unique(cell)), 1)
    usual = np.sqrt((left**2).sum(axis=0, dtype=np.float64) / freedom)
    left = left[:, usual > 0] / usual[usual > 0]
    for group in alike:
        flat = np.stack([left[rows[episode]].reshape(-1) for episode in group]).astype(np.float64)
        squares = (flat**2).sum(axis=1)
        apart = squares[:, None] + squares[None, :] - 2 * flat @ flat.T  # of strangers twice the number of columns
        for one, other in np.argwhere(np.triu(apart < NEAR**2 * 2 * flat.shape[1], k=1)).tolist():
            clusters.link(group[one], group[other])


def merge_labels(
    labels: Mapping[str, np.ndarray], clusters: Sequence[Sequence[int]], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Labels with the one value that a cluster's episodes know at its first member; None, and a note, where they
    contradict each other: nothing says which of them is right."""
    merged, notes = {name: values.copy() for name, values in labels.items()}, {}
    for name, values in labels.items():
        contradicted = []
        for members in clusters:
            known = [(values[one], names[one]) for one in members if values[one] is not None]
            if len({value for value, _ in known}) > 1:
                merged[name][members[0]] = None
                contradicted.append(known)
            elif known:
                merged[name][members[0]] = known[0][0]
        if contradicted:
            (value, one), (other_value, other) = _first_unlike(contradicted[0])
            notes[name] = (
                f"copies of one recording contradict each other on {name} in {len(contradicted)} of {len(clusters)} "
                f"cases, where it counts as unknown ('{value}' in {one}, '{other_value}' in {other})"
            )
    return merged, notes


def _first_unlike(known: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], tuple[str, str]]:
    return known[0], next(one for one in known if one[0] != known[0][0])


def list_scripts(actions: Float[np.ndarray, "N C A"], rows: Sequence[np.ndarray]) -> list[bytes]:
    """Of each episode, its chunks all along: the same for the same commands."""
    chunks = np.nan_to_num(np.round(actions, ACTION_DIGITS), nan=-99.0).reshape(len(actions), -1)
    return [chunks[of].tobytes() for of in rows]
