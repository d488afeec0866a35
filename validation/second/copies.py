"""Recordings that are stored several times under other names, with differences; and unrelated ones, of which no two
may be taken for copies."""

from dataclasses import dataclass

import numpy as np

from validation.outcome import Outcome
from validation.second.dumps import Dump, annotate
from validation.second.labels import TARGET, Labelled, judge_label, make
from validation.second.recordings import Plan, Recordings
from validation.second.spectrum import Spectrum

COUNTED, MERGED = "counts as many recordings as there are", "takes unrelated episodes for copies"


@dataclass(frozen=True, kw_only=True)
class Copying:
    """copies  of each recording;  shift  frames by which a copy begins later, 0 to so many
    noise  of each copied vector, as a share of every dimension's sd;  cut  share of the frames missing at the end
    """

    recordings: int = 10
    copies: int = 4
    shift: int = 3
    noise: float = 0.02
    cut: float = 0.0
    width: int = 96


def copied(seed: int, how: Copying) -> Outcome:
    """No actions are stored. Half of the recordings have either label, which nothing codes."""
    rng = np.random.default_rng([seed, 31])
    of, dump = make(seed, _world(how.recordings, how.width))
    vectors = dump.taps["context"]
    rows_of = [np.flatnonzero(of.episode == index) for index in range(of.num)]
    kept, source = [], []
    for index in np.tile(np.arange(of.num), how.copies):
        rows = rows_of[index]
        rows = rows[rng.integers(how.shift + 1) :]
        kept.append(rows[: max(4, round((1 - how.cut) * len(rows)))])
        source.append(index)
    length = np.array([len(rows) for rows in kept])
    again = Recordings(
        names=tuple(_names(len(kept), rng)),
        length=length,
        day=np.zeros(len(kept), int),
        episode=np.repeat(np.arange(len(kept)), length),
        frame=np.concatenate([np.arange(number) for number in length]),
    )
    found = vectors[np.concatenate(kept)]
    found = found + how.noise * vectors.std(axis=0) * rng.standard_normal(found.shape).astype(np.float32)
    values = [dump.annotations[rows_of[index][0]][TARGET] for index in source]
    copies = Dump(taps={"context": found}, annotations=annotate(again, labels={TARGET: values}))
    verdict = judge_label(seed, copies)
    return Outcome.of(verdict, (COUNTED,) if verdict.n == how.recordings else ())


def unrelated(seed: int, episodes: int, width: int, decay: float = 1.0) -> Outcome:
    """Every frame of unrelated episodes is stored."""
    verdict = judge_label(seed, make(seed, _world(episodes, width, decay))[1])
    return Outcome.of(verdict, (MERGED,) if verdict.n != episodes else ())


def _world(episodes: int, width: int, decay: float = 1.0) -> Labelled:
    return Labelled(plan=Plan(episodes=episodes, stored=None), spectrum=Spectrum(width=width, decay=decay))


def _names(number: int, rng: np.random.Generator) -> list[str]:
    """Copies are made at other times than their originals."""
    times = [f"{10 + index // 60:02d}{index % 60:02d}{rng.integers(60):02d}" for index in range(number)]
    return [f"episode_20251201_{time}_1box_hori" for time in times]
