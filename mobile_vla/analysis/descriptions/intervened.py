"""What changes when an input does: how far contexts and predicted chunks move under each stored variant.

In: a sample of a store that holds variants beside its rows as recorded. Out: an `Effect` a variant. How far something
moves says that the input arrives, not that it is used well: that is the verdicts' F (`actionable`). Blank and mean
pictures least of all: they are unlike any picture of the data, and move policies that ignore the scene too.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.actionable.following import match_variant
from mobile_vla.analysis.verdicts.verdict import FEWEST, interval
from mobile_vla.contexts.rows import OWN
from mobile_vla.contexts.vectors import spread

STILLS = ("blank", "mean")  # one picture for all frames
WIRING = "unlike any picture of the data: it tests whether pictures arrive, not whether they are used"
MOST_ROWS = 2_000  # of a variant, whose vectors are read
BLOCK = re.compile(r"mask_tokens_(\d+)(?:-(\d+))?")  # hidden image tokens, first and last


@dataclass(frozen=True, kw_only=True)
class Moved:
    """mean over episodes of the distance moved, in mean distances of rows from their centre; with its 90 % interval"""

    value: float
    ci: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Effect:
    """context, chunk  how far each moved; chunk is None where no head's answers are stored
    block           first and last image token that was hidden, where the variant hides some
    note            what the distances do not say
    """

    variant: str
    rows: int
    episodes: int
    context: Moved
    chunk: Moved | None
    block: tuple[int, int] | None = None
    note: str | None = None

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def find_effects(sample: Sample, tap: str) -> tuple[Effect, ...]:
    """Of every variant but the rows as recorded, in the order of their names."""
    kinds = set(sample.store.column("variant").tolist()) - {OWN}
    found = (_find_effect(sample, tap, str(kind)) for kind in sorted(kinds))
    return tuple(effect for effect in found if effect is not None)


def map_tokens(effects: Sequence[Effect]) -> Float[np.ndarray, " T"] | None:
    """What hiding each image token does to the predicted chunk, or to the context where no chunk is stored; of tokens
    that several blocks hold, the smallest block's."""
    blocks = [(effect.block, effect.chunk or effect.context) for effect in effects if effect.block is not None]
    if not blocks:
        return None
    found = np.full(max(block[1] for block, _ in blocks) + 1, np.nan)
    for (first, last), moved in sorted(blocks, key=lambda one: one[0][0] - one[0][1]):
        found[first : last + 1] = moved.value
    return found


def _find_effect(sample: Sample, tap: str, variant: str) -> Effect | None:
    store, pairs = sample.store, match_variant(sample, variant)
    if not len(pairs.own):
        return None
    chosen = spread(len(pairs.own), MOST_ROWS)
    own, changed = pairs.own[chosen], pairs.changed[chosen]
    names, episode = np.unique(store.column("episode")[own].astype(str), return_inverse=True)
    vectors = store.vectors(tap)
    before, after = (vectors[rows].reshape(len(rows), -1).astype(np.float64) for rows in (own, changed))
    context = _measure(before, after, episode)
    if context is None:
        return None
    chunk = None
    if store.manifest.info.steps is not None:
        answers = store.column("predicted").astype(np.float64)
        before, after = (answers[rows].reshape(len(rows), -1) for rows in (own, changed))
        known = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
        chunk = _measure(before[known], after[known], episode[known]) if known.any() else None
    block = BLOCK.fullmatch(variant)
    return Effect(
        variant=variant,
        rows=len(pairs.own),
        episodes=len(names),
        context=context,
        chunk=chunk,
        block=(int(block[1]), int(block[2] or block[1])) if block else None,
        note=WIRING if variant in STILLS else None,
    )


def _measure(before: np.ndarray, after: np.ndarray, episode: np.ndarray) -> Moved | None:
    scale = np.linalg.norm(before - before.mean(axis=0), axis=1).mean()
    if not scale > 0:
        return None
    distance = np.linalg.norm(after - before, axis=1) / scale
    codes = np.unique(episode, return_inverse=True)[1]
    means = np.bincount(codes, distance) / np.bincount(codes)
    count = len(means)
    if count < FEWEST:
        return Moved(value=float(means.mean()), ci=None)
    low, high = interval(float(means.mean()), float(means.std(ddof=1) / np.sqrt(count)), count - 1)
    return Moved(value=float(means.mean()), ci=(max(low, 0.0), high))
