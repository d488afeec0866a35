"""One value of each label for each episode, and in words what of a label is not used.

In: the rows as recorded of a store. Out: `EpisodeLabel`s. A label describes an episode where nearly all of its rows
agree; a stray row is outvoted, and the note says so. A label that changes from frame to frame describes frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.rows import LABEL
from mobile_vla.core.plural import plural

AGREED = 0.9  # share of an episode's rows with a known value: from here on the others are strays
MOST_UNCLEAR = 0.1  # of the episodes: above, the label varies within episodes and is not used
LEAST_ROWS = 3  # of an episode of few rows, one of which may be a stray


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeLabel:
    """values  (E,) text, None where unknown;  first  (E,) the value of the earliest row that has one, as stored
    note    what of it is not used, and why; empty where all of it is
    usable  whether `values` describe the episodes
    """

    values: np.ndarray
    first: np.ndarray
    note: str = ""
    usable: bool = True


def read_episode_labels(
    store: Store, own: Int[np.ndarray, " n"], episode: Int[np.ndarray, " n"], names: Sequence[str]
) -> dict[str, EpisodeLabel]:
    """own  rows of the store;  episode  of each, an index into `names`, or -1 where it is not looked at"""
    rows, of = own[episode >= 0], episode[episode >= 0]
    order = np.lexsort((store.column("frame")[rows], of))
    rows, of = rows[order], of[order]
    return {name: _read_label(name, store.column(f"{LABEL}{name}")[rows], of, names) for name in store.labels}


def as_text(value: object) -> str | None:
    """A label's value as the name of a class."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:g}"
    return str(value)


def _read_label(name: str, column: np.ndarray, of: np.ndarray, names: Sequence[str]) -> EpisodeLabel:
    """column  of rows sorted by episode and frame"""
    values, first = np.full(len(names), None, object), np.full(len(names), None, object)
    texts = [as_text(value) for value in column.tolist()]
    known = np.array([text is not None for text in texts], bool)
    if not known.any():
        return EpisodeLabel(values=values, first=first, note=f"{name} is known of no episode", usable=False)
    column, of = column[known], of[known]
    texts = [text for text in texts if text is not None]
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    first[of[starts]] = column[starts]
    if isinstance(column[0], list):
        return EpisodeLabel(
            values=values, first=first, note=f"{name} holds lists of numbers, not classes", usable=False
        )
    classes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    written = list(classes)
    pairs, counts = np.unique(of * len(classes) + np.array([classes[text] for text in texts]), return_counts=True)
    best = np.lexsort((-counts, pairs // len(classes)))
    best = best[np.diff(pairs[best] // len(classes), prepend=-1) != 0]  # of each episode its most frequent value
    episodes, most = pairs[best] // len(classes), counts[best]
    total = np.bincount(of, minlength=len(names))[episodes]
    strays = total - most
    agreed = most >= AGREED * total
    lenient = ~agreed & (strays == 1) & (total >= LEAST_ROWS)
    if lenient.sum() <= max(1, MOST_UNCLEAR * len(episodes)):
        agreed |= lenient
    winners = pairs[best] % len(classes)
    for place in np.flatnonzero(agreed):
        values[episodes[place]] = written[winners[place]]
    unclear = [names[one] for one in episodes[~agreed]]
    if len(unclear) > max(1, MOST_UNCLEAR * len(episodes)) or len(unclear) == len(episodes):
        note = (
            f"{name} changes within {len(unclear)} of the {plural(len(episodes), 'episode')} that have it: "
            "it describes frames, not episodes"
        )
        return EpisodeLabel(values=values, first=first, note=note, usable=False)
    notes = []
    if outvoted := np.flatnonzero(agreed & (strays > 0)).tolist():
        one = outvoted[0]
        winner = winners[one]
        stray = next(
            text for text, at in zip(texts, of, strict=True) if at == episodes[one] and text != written[winner]
        )
        more = f"; so it is in {plural(len(outvoted) - 1, 'more episode')}" if len(outvoted) > 1 else ""
        notes.append(
            f"{name}: {strays[one]} of {total[one]} rows of episode {names[episodes[one]]} says '{stray}' where the "
            f"others say '{written[winner]}'; the episode's value is '{written[winner]}'{more}"
        )
    if unclear:
        listed = f"{', '.join(unclear[:3])}{', ...' if len(unclear) > 3 else ''}"
        notes.append(f"{name} changes within {plural(len(unclear), 'episode')} ({listed}), where it counts as unknown")
    if len(episodes) < len(names):
        notes.append(f"{name} is known of {len(episodes)} of {len(names)} episodes, and judged over those only")
    return EpisodeLabel(values=values, first=first, note="; ".join(notes))
