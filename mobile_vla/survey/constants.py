"""What never changes, and what says the same twice: a constant feature teaches nothing, however important its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mobile_vla.sources.schema import UNKNOWN, Episode
from mobile_vla.survey.actions import SAME_ACTION, Actions, known_actions
from mobile_vla.survey.counts import label_names
from mobile_vla.survey.sketches import Sketch

SAME_GREY = 1.0  # grey levels that a pixel of a sketch may move while nothing moves in front of the camera


@dataclass(frozen=True, kw_only=True)
class Constants:
    """labels           name -> the one value that every episode has
    frame_labels     name -> the one value of all its known frames, and their number
    components       action components that never vary;  equal  pairs of components that are always the same
    same_labels      pairs of labels that say the same by other words
    frozen           ids of episodes in whose frames nothing moves
    """

    labels: Mapping[str, str]
    frame_labels: Mapping[str, tuple[str, int]]
    components: tuple[str, ...]
    equal: tuple[tuple[str, str], ...]
    same_labels: tuple[tuple[str, str], ...]
    frozen: tuple[str, ...]


def find_constants(episodes: Sequence[Episode], actions: Actions, sketches: Mapping[str, Sketch]) -> Constants:
    """Everything that is constant over the good episodes; with a single one, no label can be told to be."""
    values = {name: [episode.label(name) for episode in episodes] for name in label_names(episodes)}
    names = tuple(actions.components)
    known = known_actions(episodes, names)
    varying = [name for name, part in actions.components.items() if part.varies]
    several = len(episodes) > 1
    return Constants(
        labels={name: column[0] for name, column in values.items() if several and len(set(column)) == 1},
        frame_labels=_constant_frame_labels(episodes),
        components=tuple(name for name, part in actions.components.items() if not part.varies),
        equal=tuple(
            (a, b)
            for a, b in combinations(varying, 2)
            if np.abs(known[:, names.index(a)] - known[:, names.index(b)]).max() <= SAME_ACTION
        ),
        same_labels=tuple((a, b) for a, b in combinations(values, 2) if _say_the_same(values[a], values[b])),
        frozen=tuple(episode.id for episode in episodes if _is_frozen(sketches[episode.id])),
    )


def _constant_frame_labels(episodes: Sequence[Episode]) -> dict[str, tuple[str, int]]:
    """Unknown frames (NaN, or `unknown`) are no evidence."""
    found = {}
    for name in sorted({name for episode in episodes for name in episode.frame_labels}):
        column = np.concatenate([np.asarray(e.frame_labels[name]) for e in episodes if name in e.frame_labels])
        rows = column.reshape(len(column), -1)  # some labels are lists of numbers
        known = rows[np.isfinite(rows).all(axis=1) if rows.dtype.kind == "f" else (rows != UNKNOWN).all(axis=1)]
        if len(known) and (known == known[0]).all():
            found[name] = (" ".join(f"{v:g}" if rows.dtype.kind == "f" else str(v) for v in known[0]), len(known))
    return found


def _say_the_same(a: Sequence[str], b: Sequence[str]) -> bool:
    """One value of each for one of the other; not for labels that are constant, or different in most episodes."""
    kinds = len(set(a))
    return 1 < kinds <= len(a) / 2 and kinds == len(set(b)) == len(set(zip(a, b)))


def _is_frozen(sketch: Sketch) -> bool:
    return len(sketch.greys) > 1 and float(np.ptp(sketch.greys.astype(np.float32), axis=0).max()) <= SAME_GREY
