"""Which label a classifier is asked for, declared before any vector is looked at.

In: a sample's labels and instructions, and perhaps the names of the targets. Out: `Target`s, the primary one first.

What the instruction gives away would be read off the text, not off the scene: such a label (the direction, where the
driver is told it) is asked for only among episodes with the same instruction, if at all.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
from jaxtyping import Bool, Int

from mobile_vla.analysis.sample import DIRECTION, Sample
from mobile_vla.analysis.verdicts.actionable.experts import find_relevance
from mobile_vla.analysis.verdicts.discriminative.balance import count_effective, fewest_effective, weigh_episodes
from mobile_vla.analysis.verdicts.folds import can_permute, codes_of, permutations
from mobile_vla.analysis.verdicts.verdict import FEWEST
from mobile_vla.core.errors import UserError
from mobile_vla.core.levels import ALPHA
from mobile_vla.core.plural import plural

SITUATIONS = ("scenario", "task_type", DIRECTION)  # what a recording was made for: asked for before anything else
NEVER = ("episode_name", "time_period", "end_pos", "control_mode")  # say when and how it was recorded, not what is seen
MOST_CLASSES = 8
CHANCE_DRAWS = 199


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """classes  names;  codes  (E,) of each episode, -1 where it is not asked about it
    given_away  whether the instruction tells it, so that it is asked for within equal instructions only
    why_not     in words, why it cannot be asked for
    notes       what of its values is not used; of the primary one, too, which label would have come before it
    """

    name: str
    classes: tuple[str, ...]
    codes: Int[np.ndarray, " E"]
    given_away: bool = False
    why_not: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def asked(self) -> Int[np.ndarray, " n"]:
        return np.flatnonzero(self.codes >= 0)

    @property
    def counts(self) -> dict[str, int]:
        return {name: int((self.codes == code).sum()) for code, name in enumerate(self.classes)}

    @property
    def fewest(self) -> int:
        """Episodes of the smallest class."""
        return min(self.counts.values(), default=0)

    @property
    def chance(self) -> float:
        return 1 / max(len(self.classes), 2)

    @property
    def margin(self) -> float:
        """.70 of two classes; of more, as far on the way from chance to certainty."""
        return self.chance + 0.4 * (1 - self.chance)


def declare_targets(sample: Sample, names: Sequence[str] = ()) -> list[Target]:
    """Those named, all of them primary; else all: first the primary one, last those that cannot be asked for.

    The primary one is the scenario, or whatever the recording was made for; where no such label can be asked for, the
    one by which the recorded actions differ most, beyond progress and instruction. Of labels and recorded actions
    alone: nothing here has seen a vector.
    """
    for name in names:
        _refuse_unusable(sample, name)
    if names:
        return [make_target(sample, name) for name in names]
    candidates = {name: make_target(sample, name) for name in sorted(sample.labels) if name not in NEVER}
    relevance = {name: find_relevance(sample, target.codes) for name, target in candidates.items()}

    def rank(name: str) -> tuple:
        return candidates[name].why_not is not None, _place(name), -relevance[name], name

    declared = [candidates[name] for name in sorted(candidates, key=rank)]
    before = [name for name in SITUATIONS if name in sample.label_notes and name not in sample.labels]
    if before and declared and _place(declared[0].name) > _place(before[0]):
        note = f"{before[0]}, which would come first, is no target: {sample.label_notes[before[0]]}"
        declared[0] = replace(declared[0], notes=(*declared[0].notes, note))
    return declared


def list_unused(sample: Sample) -> dict[str, str]:
    """Labels of the store that are not asked for at all -> why, in words."""
    never = {name: f"{name} says when or how an episode was recorded, not what is seen" for name in NEVER}
    unused = {name: why for name, why in sample.label_notes.items() if name not in sample.labels}
    return dict(sorted({**{name: why for name, why in never.items() if name in sample.labels}, **unused}.items()))


def _place(name: str) -> int:
    return SITUATIONS.index(name) if name in SITUATIONS else len(SITUATIONS)


def _refuse_unusable(sample: Sample, name: str) -> None:
    """`UserError` where a named label is none, or has no value that an episode could be asked about."""
    if name in sample.labels:
        return
    known = ", ".join(sorted(sample.labels)) or "none"
    if name in sample.label_notes:
        raise UserError(f"{sample.label_notes[name]}; labels that can be asked for: {known}", argument="targets")
    near = get_close_matches(name, list(sample.labels), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"{name} is no label of the store; there are {known}{hint}", argument="targets")


def make_target(sample: Sample, name: str) -> Target:
    """One label as a target, with the reason where it cannot be asked for."""
    values = sample.labels[name]
    known = np.array([value is not None for value in values])
    several = len(set(sample.instruction)) > 1
    given_away = several and (name == DIRECTION or _is_given_away(values, sample.instruction, known))
    asked = known & _among_equal_texts(values, sample.instruction, known) if given_away else known
    classes = tuple(sorted({str(value) for value in values[asked]}))
    codes = np.full(len(values), -1)
    codes[asked] = [classes.index(str(value)) for value in values[asked]]
    target = Target(name=name, classes=classes, codes=codes, given_away=given_away)
    why_not = _find_obstacle(target, values, known) or _find_session_obstacle(target, sample)
    return replace(target, why_not=why_not, notes=(note,) if (note := sample.label_notes.get(name)) else ())


def _find_obstacle(target: Target, values: np.ndarray, known: np.ndarray) -> str | None:
    name, number = target.name, len(set(values[known]))
    if number == 0:
        return f"{name} is known of no episode"
    if number == 1:
        return (
            f"{name} is {values[known][0]} in all {plural(int(known.sum()), 'episode')}: there is nothing to tell apart"
        )
    if not len(target.classes):
        return f"{name} follows from the instruction, and can be read off the text; no two episodes of one text differ"
    if len(target.classes) > MOST_CLASSES:
        return f"{name} has {len(target.classes)} values, more than {MOST_CLASSES}"
    if target.fewest < FEWEST:
        least = min(target.counts, key=lambda value: target.counts[value])
        within = " with an instruction that goes with more than one value" if target.given_away else ""
        return f"{target.fewest} episodes of {name} = {least}{within}; {FEWEST} of each class are needed"
    return None


def _find_session_obstacle(target: Target, sample: Sample) -> str | None:
    """Where episodes that may take each other's places hardly differ: no p-value could be small, or no accuracy exact.

    What counts is sum of 4 n_0 n_1 / n over sessions (and texts, where they give the label away), see `balance`."""
    asked = target.asked
    labels = target.codes[asked]
    texts = np.asarray(sample.instruction, object)[asked] if target.given_away else np.zeros(len(asked), int)
    cells = codes_of(sample.session[asked], texts)
    what = "session and instruction" if target.given_away else "session"
    if not can_permute(cells, labels):
        return f"{target.name} hardly differs within a {what}: what the session looked like may be all that is decoded"
    num = len(target.classes)
    effective, fewest = count_effective(weigh_episodes(labels, cells, num)), fewest_effective(num)
    if effective >= fewest - 1e-9:
        return None
    return (
        f"{target.name} hardly differs within a {what}: these {len(asked)} episodes count as {effective:.1f} when "
        f"compared within each {what}, and {fewest} are needed; record every {target.name} in each session"
    )


def _is_given_away(values: np.ndarray, texts: Sequence[str], known: Bool[np.ndarray, " E"]) -> bool:
    """Whether the most frequent value of each text is right more often than texts dealt at random would be."""
    if len(set(values[known])) < 2:
        return False
    labels = codes_of(values[known])
    written = codes_of(np.asarray(texts, object)[known])

    def right(order: np.ndarray) -> int:
        pairs = Counter(zip(written.tolist(), labels[order].tolist(), strict=True))
        best: dict[int, int] = {}
        for (text, _), count in pairs.items():
            best[text] = max(best.get(text, 0), count)
        return sum(best.values())

    observed = right(np.arange(len(labels)))
    draws = [right(order) for order in permutations(np.zeros(len(labels), int), CHANCE_DRAWS, seed=0)]
    return (1 + sum(draw >= observed for draw in draws)) / (CHANCE_DRAWS + 1) <= ALPHA


def _among_equal_texts(values: np.ndarray, texts: Sequence[str], known: Bool[np.ndarray, " E"]) -> np.ndarray:
    """Episodes whose instruction goes with more than one value."""
    of_text: dict[str, set] = {}
    for text, value, is_known in zip(texts, values, known, strict=True):
        if is_known:
            of_text.setdefault(text, set()).add(value)
    return np.array([len(of_text.get(text, ())) > 1 for text in texts])
