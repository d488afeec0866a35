"""Which episode, and which frame of it, each row of a table is about; and what several rows say of the same.

In: episodes and rows. Out: for each place what is said of it, the names that fit nothing, the repetitions.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mobile_vla.core.errors import UserError
from mobile_vla.data.labelling.files import EPISODE, Row, Value
from mobile_vla.sources.schema import Episode

FRAME, INSTRUCTION = "frame", "instruction"
FRAME_INDEX = re.compile(r"(\d+)(\.0+)?")  # 3.0: a column with empty cells was written as floating-point numbers
MOST_NAMED = 5

Place = tuple[str, int | None]  # an episode's id, and a frame of it or None


@dataclass
class Matched:
    """said: place -> label -> value;  unknown  names that no episode has;  duplicates  places of repeated rows."""

    said: dict[Place, dict[str, Value]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)


def match_rows(rows: Sequence[Row], episodes: Sequence[Episode], file: Path) -> Matched:
    """`UserError` where a name fits several episodes, a frame is none of the episode's, or two rows disagree."""
    known = {episode.id: episode for episode in episodes}
    names = _names(episodes)
    found = Matched()
    first: dict[Place, str] = {}
    for row in rows:
        name = str(row.values[EPISODE])
        id = _match(name, names, row, file)
        if id is None:
            found.unknown.append(name)
            continue
        place = id, _frame(row, known[id], file)
        given = {label: value for label, value in row.values.items() if label not in (EPISODE, FRAME)}
        _refuse_misplaced(given, place, row, file)
        if place in found.said:
            found.duplicates.append(_say(place))
        said = found.said.setdefault(place, {})
        for label, value in given.items():
            if said.setdefault(label, value) != value:
                raise UserError(
                    f"data.labels={file}: {first[place]} and {row.place} contradict each other about {_say(place)}: "
                    f"{label} is '{said[label]}' and '{value}'; remove one of them"
                )
        first.setdefault(place, row.place)
    return found


def list_first(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")


def _names(episodes: Iterable[Episode]) -> list[dict[str, set[str]]]:
    """What a table may call an episode -> ids; first its own names, then what it may share with others."""
    own: dict[str, set[str]] = defaultdict(set)
    shared: dict[str, set[str]] = defaultdict(set)
    for episode in episodes:
        for name in (episode.id, f"{episode.id}{episode.path.suffix}", str(episode.path)):
            own[name].add(episode.id)
        for name in (episode.path.name, episode.path.stem):
            shared[name].add(episode.id)
    return [own, shared]


def _match(name: str, names: list[dict[str, set[str]]], row: Row, file: Path) -> str | None:
    for ids in names:
        if name in ids:
            if len(ids[name]) > 1:
                raise UserError(
                    f"data.labels={file}: {row.place}: several episodes are called '{name}': "
                    f"{list_first(sorted(ids[name]))}; write which one"
                )
            return next(iter(ids[name]))
    return None


def _frame(row: Row, episode: Episode, file: Path) -> int | None:
    """The frame that a row is about; None if it is about the whole episode."""
    if FRAME not in row.values:
        return None
    found = FRAME_INDEX.fullmatch(str(row.values[FRAME]))
    frame = int(found.group(1)) if found else -1
    if not 0 <= frame < episode.num_frames:
        raise UserError(
            f"data.labels={file}: {row.place}: frame '{row.values[FRAME]}' of {episode.id} is not one of 0 to "
            f"{episode.num_frames - 1}"
        )
    return frame


def _refuse_misplaced(given: Mapping[str, Value], place: Place, row: Row, file: Path) -> None:
    by_frame = place[1] is not None
    lists = [label for label, value in given.items() if not isinstance(value, str)]
    if lists and not by_frame:
        raise UserError(f"data.labels={file}: {row.place}: the list '{lists[0]}' needs a frame that it belongs to")
    if by_frame and INSTRUCTION in given:
        raise UserError(
            f"data.labels={file}: {row.place}: an instruction belongs to a whole episode; give it in a row without "
            "a frame"
        )


def _say(place: Place) -> str:
    return place[0] if place[1] is None else f"{place[0]} frame {place[1]}"
