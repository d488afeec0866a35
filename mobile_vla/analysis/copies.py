"""Which episodes are copies of another one: a recording counts once, however often it is stored.

In: of each episode its rows' vectors, what was recorded in it and what it was told. Out: the indices of those that
repeat an earlier one.

An exact copy holds the very vectors of another episode. A near copy (a recording that was stored again, with another
compression, brightness or a little noise) holds the same actions all along under the same instruction and labels, and
vectors that are less than a tenth as far apart as those of episodes with one instruction are. The actions alone would
not do: a keyboard's commands are few, and a driver repeats them in other scenes.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.contexts.vectors import spread

NEAR = 0.1  # of the usual distance between episodes of one instruction
MOST_DIMENSIONS = 4096  # that distances are measured in: an even sample of more
ACTION_DIGITS = 3


def find_copies(
    vectors: Float[np.ndarray, "N D"],
    actions: Float[np.ndarray, "N C A"] | None,
    cell: Int[np.ndarray, " N"],
    rows: Sequence[np.ndarray],
    told: Sequence[Hashable],
) -> list[int]:
    """Indices of episodes that are copies of an earlier one that is none.

    cell  of each row, its instruction and progress bin;  rows  of each episode;  told  of each episode, what its copies
    have in common with it beside the actions
    """
    exact: dict[bytes, int] = {}
    copies = {episode for episode, of in enumerate(rows) if exact.setdefault(vectors[of].tobytes(), episode) != episode}
    if actions is not None:
        groups: dict[Hashable, list[int]] = {}
        for episode, script in enumerate(list_scripts(actions, rows)):
            if episode not in copies:
                groups.setdefault((told[episode], tuple(cell[rows[episode]].tolist()), script), []).append(episode)
        alike = [group for group in groups.values() if len(group) > 1]
        copies |= _find_near(vectors, cell, [[rows[episode] for episode in group] for group in alike], alike)
    return sorted(copies)


def list_scripts(actions: Float[np.ndarray, "N C A"], rows: Sequence[np.ndarray]) -> list[bytes]:
    """Of each episode, its chunks all along: the same for the same commands."""
    chunks = np.nan_to_num(np.round(actions, ACTION_DIGITS), nan=-99.0).reshape(len(actions), -1)
    return [chunks[of].tobytes() for of in rows]


def _find_near(
    vectors: Float[np.ndarray, "N D"],
    cell: Int[np.ndarray, " N"],
    rows: Sequence[Sequence[np.ndarray]],
    groups: Sequence[Sequence[int]],
) -> set[int]:
    """Of episodes that were recorded alike, those that are near an earlier one."""
    if not groups:
        return set()
    left = vectors[:, spread(vectors.shape[1], MOST_DIMENSIONS)].astype(np.float32)
    for one in np.unique(cell):
        inside = cell == one
        left[inside] -= left[inside].mean(axis=0, dtype=np.float64)
    freedom = max(len(cell) - len(np.unique(cell)), 1)
    usual = np.sqrt((left**2).sum(axis=0, dtype=np.float64) / freedom)
    left = left[:, usual > 0] / usual[usual > 0]
    found: set[int] = set()
    for group, of in zip(groups, rows, strict=True):
        flat = np.stack([left[places].reshape(-1) for places in of]).astype(np.float64)
        squares = (flat**2).sum(axis=1)
        apart = squares[:, None] + squares[None, :] - 2 * flat @ flat.T  # of strangers twice the number of columns
        near = apart < NEAR**2 * 2 * flat.shape[1]
        kept: list[int] = []
        for place, episode in enumerate(group):
            if near[place, kept].any():
                found.add(episode)
            else:
                kept.append(place)
    return found
