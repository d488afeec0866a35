"""Which episodes were recorded together, and in which order, as names and labels say.

In: names of episodes and their labels. Out: a `Recording`. A label that follows the day can be read off whatever
differed between the days; so episodes take each other's places only within a session, and where no session is known,
the order of recording is looked at instead.

Sessions: a label called like one (`session`, `date`), and the day of recording: of a label that holds a time, of the
episode's name. Values that differ in every episode tell no session. Order: by time where it is known of all episodes;
else by a running number in the names, within the day where that is known; else in the order of the store, unless that
is only the alphabet's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mobile_vla.analysis.episode_labels import EpisodeLabel
from mobile_vla.core.moments import Moment, find_moment, is_called_moment, is_called_session, read_moment
from mobile_vla.core.plural import plural

LEAST_KNOWN = 0.1  # of the episodes: below, what is known is taken for chance
SESSION_WORD = re.compile(r"(?<![0-9A-Za-z])((?:day|session|sess)[_-]?\d+)(?![0-9A-Za-z])", re.IGNORECASE)
NUMBER = re.compile(r"(?<![0-9])([0-9]{1,12})(?![0-9A-Za-z])")
NAMES = "the episodes' names"
MOST_NUMBERS = 3  # in a name, from either end, that are looked at


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """session  (E,) code;  known  whether every episode's session is;  told_by  in words, what says so
    order    (E,) place in the order of recording, None where nothing says it;  ordered_by  in words, what says it
    spent    label -> why it is no target: it says when, not what
    """

    session: Int[np.ndarray, " E"]
    known: bool
    told_by: str
    order: Int[np.ndarray, " E"] | None
    ordered_by: str
    spent: Mapping[str, str]


def find_recording(
    names: Sequence[str], labels: Mapping[str, EpisodeLabel], appeared: Int[np.ndarray, " E"]
) -> Recording:
    """appeared  of each episode the first row of the store that is of it"""
    spent: dict[str, str] = {}
    literal: dict[str, list[str | None]] = {}
    moments: dict[str, list[Moment | None]] = {}
    for name, label in labels.items():
        read = [read_moment(_plain(value)) for value in label.first]
        if is_called_session(name):
            spent[name] = f"{name} says when an episode was recorded: it marks sessions, and is no target"
            if all(moment is not None for moment, value in zip(read, label.first, strict=True) if value is not None):
                moments[f"the label {name}"] = read
            elif label.usable:
                literal[f"the label {name}"] = label.values.tolist()
        elif is_called_moment(name):
            spent[name] = f"{name} says when an episode was recorded, and is no target"
            moments[f"the label {name}"] = read
    moments[NAMES] = [find_moment(name) for name in names]
    literal[NAMES] = [_find_session_word(name) for name in names]
    for name, label in labels.items():
        if name not in spent and _all_dates(label):
            spent[name] = f"{name} holds dates: it says when an episode was recorded, and is no target"
            moments[f"the label {name}"] = [read_moment(_plain(value)) for value in label.first]
    days, day_from = _merge({name: [moment and moment.day for moment in found] for name, found in moments.items()})
    words, word_from = _merge(literal)
    session, known, told_by = _join_sessions((words, word_from), (days, day_from))
    order, ordered_by = _find_order(names, list(moments.values()), labels, appeared)
    return Recording(session=session, known=known, told_by=told_by, order=order, ordered_by=ordered_by, spent=spent)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float) else None


def _all_dates(label: EpisodeLabel) -> bool:
    """Whether a label of any name has text values that are dates, all of them; numbers may count anything."""
    values = [value for value in label.first if value is not None]
    return bool(values) and all(
        isinstance(value, str) and find_moment(value) and read_moment(value) for value in values
    )


def _find_session_word(name: str) -> str | None:
    found = SESSION_WORD.search(name)
    return found.group(1).lower() if found else None


def _merge(sources: Mapping[str, Sequence[str | None]]) -> tuple[list[str | None], list[str]]:
    """Of each episode the first source that knows it, and the sources that were of use.

    A source whose values all differ, or that knows hardly any episode, tells nothing of sessions."""
    merged: list[str | None] = [None] * len(next(iter(sources.values()), ()))
    used = []
    for name, values in sources.items():
        there = [value for value in values if value is not None]
        if len(there) < max(2, LEAST_KNOWN * len(values)) or len(set(there)) == len(there):
            continue
        if any(old is None and new is not None for old, new in zip(merged, values, strict=True)):
            merged = [new if old is None else old for old, new in zip(merged, values, strict=True)]
            used.append(name)
    return merged, used


def _join_sessions(*sources: tuple[list[str | None], list[str]]) -> tuple[np.ndarray, bool, str]:
    """Sessions are the combinations of what each kind of source says.

    Episodes of which nothing is known are kept apart as a session of their own, and sessions then do not count as
    known: among those episodes a label may follow a day that nobody wrote down."""
    useful = [(values, names) for values, names in sources if names]
    number = len(sources[0][0])
    if not useful:
        return np.zeros(number, int), False, ""
    keys = list(zip(*(values for values, _ in useful), strict=True))
    if len(set(keys)) == number and len(useful) > 1:  # together they would part every episode from all others
        useful = useful[-1:]
        keys = list(zip(*(values for values, _ in useful), strict=True))
    lacking = sum(any(value is None for value in key) for key in keys)
    session = np.unique(["\x1f".join(map(str, key)) for key in keys], return_inverse=True)[1]
    told_by = f"{plural(len(set(keys)), 'session')} by {' and '.join(name for _, names in useful for name in names)}"
    if lacking:
        told_by += f"; of {lacking} of {number} episodes it is not known"
    return session, not lacking, told_by


def _find_order(
    names: Sequence[str],
    moments: Sequence[Sequence[Moment | None]],
    labels: Mapping[str, EpisodeLabel],
    appeared: np.ndarray,
) -> tuple[np.ndarray | None, str]:
    """Places in the order of recording, and what says so."""
    number = _find_running_number(names)
    ties = number if number is not None else appeared
    for wanted in ("time", "day"):
        found = [
            next((moment for moment in of if moment is not None and (moment.timed or wanted == "day")), None)
            for of in zip(*moments, strict=True)
        ]
        known = [moment.place if wanted == "time" else moment.day for moment in found if moment is not None]
        if len(known) == len(names) and (wanted == "time" or len(set(known)) > 1):
            return _rank(known, ties), "the time of recording" if wanted == "time" else "the day of recording"
        if wanted == "time":
            for name, label in labels.items():
                values = label.first.tolist()
                counted = is_called_moment(name) and label.usable and all(isinstance(value, float) for value in values)
                if counted and len(set(values)) == len(values):
                    return _rank(values, ties), f"the label {name}"
    if number is not None:
        return _rank(number.tolist(), appeared), "the running number in the episodes' names"
    if sorted(names) == [names[place] for place in np.argsort(appeared)]:
        return None, ""
    return _rank(appeared.tolist(), appeared), "the order of the rows in the store"


def _rank(keys: Sequence, ties: np.ndarray) -> np.ndarray:
    order = sorted(range(len(keys)), key=lambda place: (keys[place], ties[place]))
    ranks = np.empty(len(keys), int)
    ranks[order] = np.arange(len(keys))
    return ranks


def _find_running_number(names: Sequence[str]) -> np.ndarray | None:
    """The number at one place in all names that no two have in common; of several places, where it has fewest gaps."""
    cut = [(name, find_moment(name)) for name in names]
    rest = [name[: moment.start] + "_" + name[moment.end :] if moment else name for name, moment in cut]
    numbers = [[int(digits) for digits in NUMBER.findall(name)] for name in rest]
    found: list[np.ndarray] = []
    for place in (*range(MOST_NUMBERS), *range(-MOST_NUMBERS, 0)):
        if all(len(of) > (place if place >= 0 else -place - 1) for of in numbers):
            values = np.array([of[place] for of in numbers])
            if len(set(values.tolist())) == len(values) > 1:
                found.append(values)
    return min(found, key=lambda values: int(values.max() - values.min()), default=None)
