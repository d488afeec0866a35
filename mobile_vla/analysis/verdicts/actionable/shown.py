"""How far a policy goes where an expert would when it is shown another episode's picture.

In: a store whose rows hold predicted chunks, as recorded and with the picture of a donor: another episode that was
asked for the same, at the same progress. Out: F as a `Ratio`, by pair of episodes that lent each other their pictures

    F = sum <D, z> / sum <z, x_donor - x_own>,   z = y_donor - y_own

D is how the predicted chunk moved, x are the recorded chunks, and y is what a ridge regression on the judged tap's own
contexts predicts for them from other pairs (`scene_probe`). z is an instrument: held-out noise of one driver's chunk is
not in it, so that a policy that does what the scene calls for scores 1 however little of the actions the scene
explains.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from mobile_vla.analysis.sample import BINS, Sample, bin_of
from mobile_vla.analysis.verdicts.actionable.fieller import Ratio, ratio_of
from mobile_vla.analysis.verdicts.actionable.following import Intervened, moved
from mobile_vla.analysis.verdicts.actionable.scene_probe import free_courses, predict_held_out
from mobile_vla.analysis.verdicts.folds import codes_of, deal_often
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import FEWEST
from mobile_vla.contexts.vectors import spread

MOST_PAIRS = 150  # of episodes: the cost grows with their cube
NOT_STORED = "of donors that are not among the judged episodes"
NOT_THE_SAME = "of donors that were asked for something else"
FACTOR = 1.25  # on standard errors: predictions of different folds share training episodes


class Shown(NamedTuple):
    """units  names of the episodes that lend to each other;  ratio  None where they are too few
    explained  share of the donors' recorded differences that the probe predicts
    dropped    rows of the variant that are not used, by reason
    """

    units: tuple[str, ...]
    ratio: Ratio | None
    explained: float | None
    dropped: dict[str, int]

    @property
    def p_scene(self) -> float:
        """One-sided, of a probe that predicts nothing."""
        if self.ratio is None:
            return 1.0
        error = float(np.sqrt(self.ratio.covariance[1, 1]))
        return float(stats.t.sf(self.ratio.below / error, self.ratio.freedom)) if error else 1.0


def measure_image(sample: Sample, found: Intervened, tap: str, rigour: Rigour) -> Shown:
    """Only the judged tap is read: another one in the store changes nothing."""
    own, changed, donor, dropped = _match_donors(sample, found)
    if not len(own):
        return Shown((), None, None, dropped)
    store = sample.store
    names = store.column("episode")
    lenders = connect(names[own], names[donor])
    groups, group = np.unique(lenders.astype(str), return_inverse=True)
    if len(groups) < FEWEST:
        return Shown(tuple(groups.tolist()), None, None, dropped)
    if len(groups) > MOST_PAIRS:
        kept = np.isin(group, spread(len(groups), MOST_PAIRS))
        dropped[f"of more than {MOST_PAIRS} pairs"] = int((~kept).sum())
        own, changed, donor = own[kept], changed[kept], donor[kept]
        groups, group = np.unique(lenders[kept].astype(str), return_inverse=True)
    rows = np.unique(np.concatenate([own, donor]))
    at_own, at_donor = np.searchsorted(rows, own), np.searchsorted(rows, donor)
    group_of_row = np.empty(len(rows), int)
    group_of_row[at_own] = group_of_row[at_donor] = group
    meaning = dict(zip(sample.episodes, codes_of(sample.meaning).tolist(), strict=True))
    asked = np.unique([meaning[name] for name in names[rows].tolist()], return_inverse=True)[1]
    strata = np.empty(len(groups), int)
    strata[group_of_row] = asked
    actions = store.column("action")[rows].astype(np.float64).reshape(len(rows), -1)
    contexts = np.asarray(store.vectors(tap)[rows], np.float32).reshape(len(rows), -1)
    deals = [folds[group_of_row] for folds in deal_often(strata, rigour.seed, rigour.deals)]
    expected = predict_held_out(contexts, actions, free_courses(asked, store.column("progress")[rows]), deals)
    aim = expected[at_donor] - expected[at_own]
    between = actions[at_donor] - actions[at_own]
    steps = moved(sample, own, changed)
    known = np.isfinite(steps) & np.isfinite(between)
    sums = np.stack([_sum_by(group, known, aim, part, len(groups)) for part in (steps, between)], axis=1)
    whole = sums.sum(axis=0)
    length = float((np.where(known, between, 0.0) ** 2).sum())
    ratio = ratio_of(whole, whole - sums, FACTOR, len(groups) - 1)
    return Shown(tuple(groups.tolist()), ratio, float(whole[1]) / length if length else 0.0, dropped)


def connect(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of each link between two episodes, the names of all that hang together: a number must not count twice."""
    names, codes = np.unique(np.concatenate([left, right]).astype(str), return_inverse=True)
    links = csr_array((np.ones(len(left)), (codes[: len(left)], codes[len(left) :])), shape=(len(names),) * 2)
    group = connected_components(links, directed=False)[1]
    joined = np.array([" and ".join(names[group == number]) for number in range(group.max(initial=-1) + 1)], object)
    return joined[group[codes[: len(left)]]]


def _match_donors(sample: Sample, found: Intervened) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int]]:
    """Rows as recorded, one an episode and bin; the same with the donor's picture; and the donor's row as recorded that
    is nearest to the frame shown. With how many rows are left out, by reason."""
    store = sample.store
    names, frames = store.column("episode"), store.column("frame")
    meaning = dict(zip(sample.episodes, sample.meaning, strict=True))
    rows: dict[str, list[tuple[int, int]]] = {}
    for row in store.select().tolist():
        rows.setdefault(str(names[row]), []).append((int(frames[row]), row))
    shown = list(
        zip(store.column("shown_episode")[found.changed], store.column("shown_frame")[found.changed], strict=True)
    )
    dropped = dict.fromkeys((NOT_STORED, NOT_THE_SAME), 0)
    kept, donors = [], []
    for place in _one_a_bin(sample, found.own).tolist():
        name, frame = shown[place]
        if name not in meaning:
            dropped[NOT_STORED] += 1
        elif meaning[name] != meaning[str(names[found.own[place]])]:
            dropped[NOT_THE_SAME] += 1
        else:
            kept.append(place)
            donors.append(min(rows[name], key=lambda one: abs(one[0] - float(frame)))[1])
    at = np.array(kept, int)
    return found.own[at], found.changed[at], np.array(donors, int), {k: v for k, v in dropped.items() if v}


def _one_a_bin(sample: Sample, own: np.ndarray) -> np.ndarray:
    """Places of the rows that are nearest to the middle of their bin: frames of one episode are near copies."""
    progress, frame = sample.store.column("progress")[own], sample.store.column("frame")[own]
    episode = codes_of(sample.store.column("episode")[own])
    bin = bin_of(progress)
    order = np.lexsort((frame, np.abs(progress - bin / (BINS - 1)), bin, episode))
    return order[np.diff(episode[order] * BINS + bin[order], prepend=-1) != 0]


def _sum_by(
    group: np.ndarray, known: np.ndarray, aim: np.ndarray, part: np.ndarray, num: int
) -> Float[np.ndarray, " U"]:
    """<aim, part> of rows, summed by group."""
    return np.bincount(group, (np.where(known, aim, 0.0) * np.where(known, part, 0.0)).sum(axis=1), num)
