"""How evenly labels are spread, and which of them go together: a label that follows the day is learnt from the day."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mobile_vla.sources.schema import UNKNOWN, Episode
from mobile_vla.survey.counts import label_names


@dataclass(frozen=True, kw_only=True)
class LabelBalance:
    """Of one label, over the episodes that have it.

    episodes  that have it;  values  how many different ones
    evenness  entropy / largest possible entropy: 1 for equal shares, 0 for one value
    ratio     of the commonest value to the rarest;  rarest  that value;  rarest_count  its episodes
    """

    episodes: int
    values: int
    evenness: float
    ratio: float
    rarest: str
    rarest_count: int


@dataclass(frozen=True, kw_only=True)
class Association:
    """Two labels, over the episodes that have both. `cramers_v` is 0 where neither tells anything of the other, and 1
    where one gives the other away; corrected for chance, which many values and few episodes leave much of."""

    a: str
    b: str
    cramers_v: float
    episodes: int


@dataclass(frozen=True, kw_only=True)
class Balance:
    """labels  by name;  associations  the closest first."""

    labels: Mapping[str, LabelBalance]
    associations: tuple[Association, ...]


def weigh(episodes: Sequence[Episode]) -> Balance:
    """Every label, and every two of them that vary."""
    names = label_names(episodes)
    associations = []
    for a, b in combinations(names, 2):
        both = [e for e in episodes if UNKNOWN not in (e.label(a), e.label(b))]
        v = cramers_v([e.label(a) for e in both], [e.label(b) for e in both])
        if v is not None:
            associations.append(Association(a=a, b=b, cramers_v=v, episodes=len(both)))
    return Balance(
        labels={name: found for name in names if (found := _weigh_label(episodes, name)) is not None},
        associations=tuple(sorted(associations, key=lambda pair: (-pair.cramers_v, pair.a, pair.b))),
    )


def _weigh_label(episodes: Sequence[Episode], name: str) -> LabelBalance | None:
    """None where the label has no known value."""
    counts = Counter(value for episode in episodes if (value := episode.label(name)) != UNKNOWN)
    if not counts:
        return None
    rarest = min(sorted(counts), key=lambda value: counts[value])
    shares = np.array(list(counts.values())) / counts.total()
    entropy = -float((shares * np.log(shares)).sum())
    return LabelBalance(
        episodes=counts.total(),
        values=len(counts),
        evenness=entropy / float(np.log(len(counts))) if len(counts) > 1 else 0.0,
        ratio=max(counts.values()) / counts[rarest],
        rarest=rarest,
        rarest_count=counts[rarest],
    )


def cross_table(rows: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, int]]:
    """row value -> column value -> how often both, zeros included."""
    counts = Counter(zip(rows, columns, strict=True))
    return {r: {c: counts[r, c] for c in sorted(set(columns))} for r in sorted(set(rows))}


def cramers_v(a: Sequence[str], b: Sequence[str]) -> float | None:
    """Bias-corrected Cramér's V (Bergsma 2013, J. Korean Stat. Soc. 42); None where one of the two hardly varies."""
    table = np.array([list(row.values()) for row in cross_table(a, b).values()], np.float64)
    if min(table.shape, default=0) < 2:
        return None
    n = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    phi2 = float(((table - expected) ** 2 / expected).sum() / n)
    r, c = table.shape
    corrected = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    most = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return min(float(np.sqrt(corrected / most)), 1.0) if most > 1e-9 else None
