"""The same measures epoch by epoch, beside the validation loss: what training made of the contexts.

In: the stores that a run left at several epochs, and its `metrics.csv`. Out: a `Course`. Exploratory: the epochs of one
run are not independent of each other, and one run says nothing of another; the verdicts are on the last store alone.
"""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobile_vla.analysis.descriptions.description import describe_tap
from mobile_vla.analysis.sample import Sample, take_sample
from mobile_vla.analysis.verdicts.discriminative.decoding import decode
from mobile_vla.analysis.verdicts.discriminative.targets import make_target
from mobile_vla.analysis.verdicts.discriminative.verdict import score_interval
from mobile_vla.analysis.verdicts.preserving.chunk_fit import MOST_EPISODES, fit
from mobile_vla.analysis.verdicts.preserving.chunks import anything_left, make_chunks
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import FEWEST
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.vectors import spread

METRICS, LOSS = "metrics.csv", "val_loss"
MOST_EPOCHS = 25
COLLAPSED = 0.5  # an effective rank that falls below this share of the first epoch's


@dataclass(frozen=True, kw_only=True)
class Point:
    """One epoch. Intervals are over episodes; None where the measure is not to be had."""

    epoch: int
    val_loss: float | None
    rank: float | None
    rank_z: float | None
    accuracy: float | None
    accuracy_ci: tuple[float, float] | None
    r2: float | None
    r2_ci: tuple[float, float] | None

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Course:
    """points  by epoch;  target  whose accuracy it is, None where there is none;  sentences  what it says"""

    points: tuple[Point, ...]
    target: str | None
    chance: float | None
    sentences: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        points = [point.to_plain() for point in self.points]
        return {"target": self.target, "points": points, "sentences": list(self.sentences)}


def follow_epochs(epochs: Mapping[int, Store], run: Path, tap: str, target: str | None, seed: int = 0) -> Course | None:
    """target  name of the primary one. None where fewer than two epochs have the tap."""
    there = {epoch: store for epoch, store in epochs.items() if tap in store.taps}
    if len(there) < 2:
        return None
    numbers = np.array(sorted(there))
    losses = read_losses(run / METRICS)
    rigour = Rigour(seed=seed)
    points, chance = [], None
    for epoch in numbers[spread(len(numbers), MOST_EPOCHS)].tolist():
        point, chance = _look(epoch, there[epoch], losses.get(epoch), tap, target, rigour)
        points.append(point)
    told = tuple(points)
    return Course(points=told, target=target, chance=chance, sentences=tuple(_tell(told, target)))


def read_losses(file: Path) -> dict[int, float]:
    """Epoch -> the last validation loss of it; nothing where there is no such file."""
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get(LOSS)]
    return {int(row["epoch"]): float(row[LOSS]) for row in rows}


def _look(
    epoch: int, store: Store, loss: float | None, tap: str, target: str | None, rigour: Rigour
) -> tuple[Point, float | None]:
    described = describe_tap(store, tap)
    sample = take_sample(store, tap)
    vectors = sample.vectors(tap)
    accuracy, accuracy_ci, chance = _decode(sample, vectors, target, rigour)
    r2, r2_ci = _fit(sample, vectors, rigour)
    point = Point(
        epoch=epoch,
        val_loss=loss,
        rank=described.raw and described.raw.effective_rank,
        rank_z=described.z and described.z.effective_rank,
        accuracy=accuracy,
        accuracy_ci=accuracy_ci,
        r2=r2,
        r2_ci=r2_ci,
    )
    return point, chance


def _decode(
    sample: Sample, vectors: np.ndarray, name: str | None, rigour: Rigour
) -> tuple[float | None, tuple[float, float] | None, float | None]:
    if name is None or name not in sample.labels:
        return None, None, None
    target = make_target(sample, name)
    if target.why_not is not None:
        return None, None, None
    found = decode(sample.means(vectors), sample, target, rigour, tests=False)
    return found.accuracy, score_interval(found.accuracy, np.array(list(target.counts.values()))), target.chance


def _fit(sample: Sample, vectors: np.ndarray, rigour: Rigour) -> tuple[float | None, tuple[float, float] | None]:
    if sample.actions is None or sample.num_episodes < FEWEST:
        return None, None
    kept = spread(sample.num_episodes, MOST_EPISODES)
    inside = np.isin(sample.episode, kept)
    few = sample.keep(kept)
    chunks = make_chunks(few)
    if not anything_left(few, chunks):
        return None, None
    found = fit(few, vectors[inside], chunks, rigour, permute=False)
    return found.r2, found.ci


def _tell(points: tuple[Point, ...], target: str | None) -> list[str]:
    first, last = points[0], points[-1]
    said = []
    titles = {
        "val_loss": "the validation loss",
        "accuracy": f"the balanced accuracy of {target}",
        "r2": "R² of the next action chunk beyond progress and instruction",
    }
    for name, title in titles.items():
        before, after = getattr(first, name), getattr(last, name)
        if before is not None and after is not None:
            said.append(f"from epoch {first.epoch} to {last.epoch} {title} went from {before:.3g} to {after:.3g}")
    if first.val_loss is not None and last.val_loss is not None:
        way = "fell" if last.val_loss < first.val_loss else "rose" if last.val_loss > first.val_loss else "stayed"
        said += [
            f"as the loss {way}, {titles[name]} {told}"
            for name in ("accuracy", "r2")
            if (told := _change(first, last, name))
        ]
    if first.rank and last.rank and first.rank_z and last.rank_z:
        collapsed = last.rank < COLLAPSED * first.rank or last.rank_z < COLLAPSED * first.rank_z
        said.append(
            f"the effective rank went from {first.rank:.1f} to {last.rank:.1f} (z-scored {first.rank_z:.1f} to "
            f"{last.rank_z:.1f}): {'it collapsed' if collapsed else 'no collapse to less than half'}"
        )
    return said


def _change(first: Point, last: Point, name: str) -> str | None:
    """By intervals that do not overlap; nothing where one is not known."""
    before, after = (getattr(point, f"{name}_ci") for point in (first, last))
    if before is None or after is None:
        return None
    if after[0] > before[1]:
        return "improved"
    return "got worse" if after[1] < before[0] else "is not shown to change (its 90 % intervals overlap)"
