"""Labels from a table: joined to episodes, or to their frames, over what file names and attributes say.

In: episodes, and a table (`label_files`) with a column `episode` and any number of labels. A row without a `frame`
labels its episode, one with a `frame` (from 0) labels that frame; a table may hold both. An empty cell leaves what
the file says. A column `instruction` gives the episode its instruction. Out: the episodes with `labels` and
`frame_labels` brought up to date, and a report of what did not fit.

A column of frame labels in which every value is a number becomes float64, lists of numbers (boxes) become
(N, length) float64, all else text. Where nothing is known they hold NaN, or `unknown`.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mobile_vla.core.errors import UserError
from mobile_vla.data.labelling.files import Value, read_rows
from mobile_vla.data.labelling.matching import INSTRUCTION, list_first, match_rows
from mobile_vla.sources.instructions import InstructionConfig, choose_instruction
from mobile_vla.sources.schema import UNKNOWN, Episode


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """What became of a table.

    by_episode, by_frame   names of the labels that it gave
    corrected              label -> episodes whose file says something else
    unknown_episodes       names that no good episode has;  duplicates  rows that say again what is said already
    missing_episodes       ids without a row
    missing_frames         id -> frames without a row, of the other episodes; empty if the table has no rows by frame
    """

    file: Path
    by_episode: tuple[str, ...]
    by_frame: tuple[str, ...]
    corrected: Mapping[str, int]
    unknown_episodes: tuple[str, ...]
    duplicates: tuple[str, ...]
    missing_episodes: tuple[str, ...]
    missing_frames: Mapping[str, int]

    def describe(self) -> list[str]:
        """For the user, one line for each thing that happened."""
        kinds = {"by episode": self.by_episode, "by frame": self.by_frame}
        given = "; ".join(f"{', '.join(names)} {how}" for how, names in kinds.items() if names)
        lines = [f"labels from {self.file.name}: {given or 'none'}"]
        if self.corrected:
            lines.append(
                "  other than the files say: " + ", ".join(f"{name} of {n}" for name, n in self.corrected.items())
            )
        for what, names in (
            ("names that no good episode has", self.unknown_episodes),
            ("rows given twice", self.duplicates),
            ("episodes without a row", self.missing_episodes),
        ):
            if names:
                lines.append(f"  {len(names)} {what}: {list_first(names)}")
        if self.missing_frames:
            frames = [f"{id} ({count})" for id, count in self.missing_frames.items()]
            lines.append(f"  {sum(self.missing_frames.values())} frames without a row: {list_first(frames)}")
        return lines


def join_labels(
    episodes: Sequence[Episode], file: Path, instructions: InstructionConfig
) -> tuple[list[Episode], LabelReport]:
    """The episodes, in their order, with the table's labels. `UserError` if it contradicts itself or fits nothing."""
    rows = read_rows(file)
    matched = match_rows(rows, episodes, file)
    if not matched.said:
        raise UserError(
            f"data.labels={file}: none of its {len(rows)} rows names an episode that is here; the table has for "
            f"example '{matched.unknown[0]}', the data '{episodes[0].id}'"
        )
    of_episode = {id: given for (id, frame), given in matched.said.items() if frame is None}
    of_frames: dict[str, dict[int, Mapping[str, Value]]] = defaultdict(dict)
    for (id, frame), given in matched.said.items():
        if frame is not None:
            of_frames[id][frame] = given
    columns = _frame_columns(episodes, of_frames, file)
    joined, corrected = [], Counter()
    for episode in episodes:
        relabelled = _relabelled(episode, of_episode.get(episode.id, {}), instructions)
        corrected.update(name for name, value in episode.labels.items() if relabelled.labels[name] != value)
        frame_labels = {**episode.frame_labels, **{name: column[episode.id] for name, column in columns.items()}}
        joined.append(replace(relabelled, frame_labels=frame_labels))
    here = {id for id, _ in matched.said}
    lacking = {e.id: e.num_frames - len(of_frames.get(e.id, ())) for e in episodes if of_frames and e.id in here}
    report = LabelReport(
        file=file,
        by_episode=tuple(sorted({name for given in of_episode.values() for name in given})),
        by_frame=tuple(columns),
        corrected=dict(sorted(corrected.items())),
        unknown_episodes=tuple(sorted(set(matched.unknown))),
        duplicates=tuple(matched.duplicates),
        missing_episodes=tuple(sorted(episode.id for episode in episodes if episode.id not in here)),
        missing_frames={id: count for id, count in sorted(lacking.items()) if count},
    )
    return joined, report


def _relabelled(episode: Episode, given: Mapping[str, Value], instructions: InstructionConfig) -> Episode:
    """Its labels, and the instruction that follows from them unless the file or the table holds one."""
    labels = {**episode.labels, **{label: str(value) for label, value in given.items() if label != INSTRUCTION}}
    text, source = episode.instruction, episode.instruction_source
    if INSTRUCTION in given:
        text, source = str(given[INSTRUCTION]), "table"
    elif source != "file":
        text, source = choose_instruction(None, labels, instructions)
    return replace(episode, labels=labels, instruction=text, instruction_source=source)


def _frame_columns(
    episodes: Sequence[Episode], given: Mapping[str, Mapping[int, Mapping[str, Value]]], file: Path
) -> dict[str, dict[str, np.ndarray]]:
    """label -> id -> one value (or list of numbers) a frame, of one type over all episodes."""
    names = sorted({label for frames in given.values() for values in frames.values() for label in values})
    columns = {}
    for name in names:
        known = {e.id: {t: row[name] for t, row in given.get(e.id, {}).items() if name in row} for e in episodes}
        values = [value for frames in known.values() for value in frames.values()]
        sizes = {len(value) if isinstance(value, tuple) else 0 for value in values}
        if len(sizes) > 1:
            raise UserError(
                f"data.labels={file}: '{name}' holds lists of different lengths, or lists and single values"
            )
        (size,) = sizes
        numbers = size > 0 or all(_number(str(value)) is not None for value in values)
        columns[name] = {}
        for episode in episodes:
            shape = (episode.num_frames, size) if size else (episode.num_frames,)
            column = np.full(shape, np.nan) if numbers else np.full(shape, UNKNOWN, dtype=object)
            for frame, value in known[episode.id].items():
                column[frame] = value if size else _number(str(value)) if numbers else value
            columns[name][episode.id] = column if numbers else column.astype(str)
    return columns


def _number(text: str) -> float | None:
    """The finite number that a text is; None where it is another text (Python would also read 1_000 and nan)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None
