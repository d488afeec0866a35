"""How many, how long, how large: episodes by label, by instruction and by what their files are like."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mobile_vla.sources.instructions import count_sources
from mobile_vla.sources.schema import Episode


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A set of numbers in five."""

    min: float
    median: float
    mean: float
    max: float
    total: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        array = np.asarray(list(values), np.float64)
        return cls(
            min=float(array.min()),
            median=float(np.median(array)),
            mean=float(array.mean()),
            max=float(array.max()),
            total=float(array.sum()),
        )


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of the good episodes.

    labels               name -> value -> episodes; one without the label counts as `unknown`
    instructions         text -> episodes, the commonest first;  instruction_sources  where they come from
    lengths              frames an episode;  num_of_length  frames -> episodes
    bytes                of the files that hold them; None where there are none
    resolutions          `<width>x<height>` -> episodes
    """

    labels: Mapping[str, Mapping[str, int]]
    instructions: Mapping[str, int]
    instruction_sources: Mapping[str, int]
    lengths: Spread
    num_of_length: Mapping[int, int]
    bytes: Spread | None
    resolutions: Mapping[str, int]
    encodings: Mapping[str, int]
    layouts: Mapping[str, int]


def count(episodes: Sequence[Episode]) -> Counts:
    """All counts of at least one episode."""
    files = dict.fromkeys(file for episode in episodes if (file := episode.reader.file()) is not None)
    return Counts(
        labels={name: count_values(episode.label(name) for episode in episodes) for name in label_names(episodes)},
        instructions=dict(Counter(episode.instruction for episode in episodes).most_common()),
        instruction_sources=count_sources(episodes),
        lengths=Spread.of(episode.num_frames for episode in episodes),
        num_of_length=dict(sorted(Counter(episode.num_frames for episode in episodes).items())),
        bytes=Spread.of(file.stat().st_size for file in files) if files else None,
        resolutions=count_values(f"{episode.resolution[1]}x{episode.resolution[0]}" for episode in episodes),
        encodings=count_values(episode.encoding for episode in episodes),
        layouts=count_values(episode.layout for episode in episodes),
    )


def label_names(episodes: Sequence[Episode]) -> list[str]:
    """Every label that some episode has, by name."""
    return sorted({name for episode in episodes for name in episode.labels})


def count_values(values: Iterable[str]) -> dict[str, int]:
    """value -> how often, by value."""
    return dict(sorted(Counter(values).items()))
