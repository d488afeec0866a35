"""What is known of the next actions without any context: where in the episode it is, what the instruction says, and in
which session it was recorded.

In: a sample. Out: a `Baseline`: columns that every fit holds without a penalty, so that they are removed from the
chunks *and from the contexts* inside each training fold (Frisch, Waugh and Lovell).

The columns are text x (1, p, p^2, p^3), with p the exact progress of a row and not its bin: within a bin frames of
different episodes lie at different progress, and a context that knows by how much would beat the bin's mean. The text
is the instruction as it was written, since a context may hold its words whatever they mean. Sessions, where they are
known, add session x (1, p): light and speed drift from day to day.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.folds import codes_of
from mobile_vla.analysis.verdicts.verdict import FEWEST
from mobile_vla.core.plural import plural

DEGREE = 3  # of the polynomial in progress, by text
SESSION_DEGREE = 1  # by session
REST = "(rest)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """text     (E,) code of the instruction's text; of its meaning where too few episodes share a text
    session  (E,) code, all 0 where sessions are not known
    columns  (N, Q) that every fit holds without a penalty
    kept     (E,) whether another episode has the same text: only these can be judged
    exact    whether `text` is the text; without, nothing may be concluded
    beyond   what is removed, in words ("progress and instruction");  unknown  what is not known and so not removed
    """

    text: Int[np.ndarray, " E"]
    session: Int[np.ndarray, " E"]
    columns: Float[np.ndarray, "N Q"]
    kept: Bool[np.ndarray, " E"]
    exact: bool
    beyond: str
    unknown: str = ""

    @property
    def blocks(self) -> Int[np.ndarray, " E"]:
        """Text x session: episodes within which chunks may change places."""
        return codes_of(self.text, self.session)


def make_baseline(sample: Sample) -> Baseline:
    """Texts that a single episode has cannot be adjusted for: no other episode tells what they do."""
    text = codes_of(sample.instruction)
    kept = np.bincount(text)[text] > 1
    exact = int(kept.sum()) >= min(FEWEST, sample.num_episodes)
    if not exact:
        text = codes_of(sample.meaning)
        if np.bincount(text).min() < 2:
            text = np.zeros_like(text)
        kept = np.ones_like(kept)
    given = any(one.strip() for one in sample.instruction)
    session = codes_of(sample.session) if sample.sessions_known else np.zeros_like(text)
    names = ["progress"]
    if given:
        names.append("instruction" if exact else "what the instruction means" if text.any() else "")
    if session.any():
        names.append("session")
    names = [name for name in names if name]
    return Baseline(
        text=text,
        session=session,
        columns=_columns(sample, text, session),
        kept=kept,
        exact=exact,
        beyond=" and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names),
        unknown="" if given else "the instructions are not known",
    )


def say_left_out(baseline: Baseline) -> str:
    """How many episodes have a text of their own; nothing where none has."""
    left_out, num = int((~baseline.kept).sum()), len(baseline.kept)
    if not left_out:
        return ""
    return f"{left_out} of {plural(num, 'episode')} left out: no other episode has the same instruction text"


def meanings_of(sample: Sample) -> Int[np.ndarray, " E"]:
    """A code of what each episode was asked for. Meanings of fewer than 8 episodes are one together."""
    texts, counts = np.unique(np.asarray(sample.meaning, object), return_counts=True)
    often = set(texts[counts >= FEWEST].tolist())
    return codes_of([text if text in often else REST for text in sample.meaning])


def _columns(sample: Sample, text: Int[np.ndarray, " E"], session: Int[np.ndarray, " E"]) -> Float[np.ndarray, "N Q"]:
    found = [_powers(sample, text, DEGREE)]
    if session.any():
        found.append(_powers(sample, session, SESSION_DEGREE))
    return np.concatenate(found, axis=1)


def _powers(sample: Sample, codes: Int[np.ndarray, " E"], degree: int) -> Float[np.ndarray, "N q"]:
    """Code x powers of progress (from -1 to 1), up to one less than the bins that two episodes of the code reach, lest
    a polynomial runs through the rows of a single episode."""
    of_row, centred = codes[sample.episode], 2 * sample.progress - 1
    found = []
    for code in np.unique(of_row):
        rows = of_row == code
        reached = int((np.bincount(sample.bin[rows]) >= 2).sum())
        found += [np.where(rows, centred**power, 0.0) for power in range(min(degree, max(reached - 1, 0)) + 1)]
    return np.stack(found, axis=1)
