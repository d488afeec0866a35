"""Labels whose relation to the contexts is known: coded, or following the day, the drift, the words, or nothing.

In: a seed, and a `Labelled`. Out: dumps, and what a store of them is called by the discriminative verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from mobile_vla.analysis.verdicts.judgement import judge
from mobile_vla.analysis.verdicts.verdict import Verdict
from mobile_vla.core.levels import ALPHA
from validation.outcome import NO, YES, Outcome
from validation.second.disk import stored
from validation.second.dumps import Dump, annotate
from validation.second.recordings import Plan, Recordings, record
from validation.second.spectrum import Spectrum, draw_components, mean_sd, turn
from validation.strip import rigour_of

TARGET = "scenario"
FALSE_NO = "no, although the code lies in what the no is said of"
SCOPE = "sigma"  # somewhere in `details`: the smallest spread of a direction that a no is said of
ANY_YES, ANY_SMALL = "yes for some target", "p <= .05 for some target"
REPLACED = "the target is replaced without a word"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """strength  of the code, in sd of the episode means along component `at`: minus for one class, plus for the other
    follows   what the label follows: chance, the day, or the order of recording (first half, second half)
    agree     share of episodes whose label does so; in the others it is the other one
    day       how far days lie apart in all components, in their sd;  drift  the same from the first to the last episode
    rare      share of the second class;  classes  of a label that is dealt by chance
    tails     degrees of freedom of t-distributed contexts; None: normal
    clock     how far the start of an episode lies from its end, in sd of the component that codes progress
    """

    plan: Plan = field(default_factory=Plan)
    spectrum: Spectrum = field(default_factory=Spectrum)
    strength: float = 0.0
    at: int = 8
    follows: Literal["chance", "day", "order"] = "chance"
    agree: float = 1.0
    day: float = 0.0
    drift: float = 0.0
    rare: float = 0.5
    classes: int = 2
    tails: float | None = None
    clock: float = 3.0


def make(seed: int, world: Labelled) -> tuple[Recordings, Dump]:
    rng = np.random.default_rng([seed, 21])
    of = record(world.plan, rng)
    label = deal_label(of, world, rng)
    sd = world.spectrum.sd
    x = draw_components(world.spectrum, of, rng)
    if world.tails is not None:
        x *= np.sqrt(world.tails / rng.chisquare(world.tails, of.num))[of.episode][:, None]
    x[:, 1] += world.clock * sd[1] * (of.progress - 0.5)
    x += world.day * (rng.standard_normal((int(of.day.max()) + 1, len(sd))) * sd)[of.day][of.episode]
    along = (np.arange(of.num) / of.num - 0.5)[of.episode]
    x += world.drift * along[:, None] * (rng.standard_normal(len(sd)) * sd)
    if world.strength:
        sign = np.where(label == 0, -1.0, 1.0)[of.episode]
        x[:, world.at] += world.strength * sd[world.at] * mean_sd(world.spectrum, of) * sign
    values = [f"kind_{value}" for value in label]
    return of, Dump(taps={"context": turn(x, seed)}, annotations=annotate(of, labels={TARGET: values}))


def deal_label(of: Recordings, world: Labelled, rng: np.random.Generator) -> Int[np.ndarray, " E"]:
    num = of.num
    if world.follows == "chance":
        if world.classes > 2:
            return rng.permutation(np.arange(num) % world.classes)
        return rng.permutation((np.arange(num) < round(world.rare * num)).astype(int))
    label = of.day % 2 if world.follows == "day" else (np.arange(num) >= num / 2).astype(int)
    for value in np.unique(of.day):  # as many exceptions in every day
        members = np.flatnonzero(of.day == value)
        odd = rng.permutation(members)[: round((1 - world.agree) * len(members))]
        label[odd] = 1 - label[odd]
    return label


def judge_label(seed: int, dump: Dump) -> Verdict:
    with stored(dump) as store:
        return judge(store, targets=(TARGET,), rigour=rigour_of(seed)).discriminative


def find_scope(details: Mapping[str, Any]) -> float:
    """The smallest spread of a direction that a no is said of, as a share of the contexts' rms norm; 0 where it is said
    of every direction, infinite where of none."""
    if SCOPE in details:
        return float("inf") if details[SCOPE] is None else float(details[SCOPE])
    inner = [value for value in details.values() if isinstance(value, Mapping)]
    return max((find_scope(value) for value in inner), default=0.0)


def labelled(seed: int, world: Labelled, strength: float | None = None) -> Outcome:
    """strength  in place of the world's"""
    world = world if strength is None else replace(world, strength=strength)
    verdict = judge_label(seed, make(seed, world)[1])
    coded_along = float(world.spectrum.sd[world.at] / np.sqrt(world.spectrum.variances.sum()))
    false = world.strength > 0 and verdict.verdict == NO and find_scope(verdict.details) <= coded_along
    return Outcome.of(verdict, (FALSE_NO,) if false else ())


def half_stored(seed: int, world: Labelled) -> Outcome:
    """The label is which half of the episode was stored."""
    of, dump = make(seed, world)
    first = np.array([one[TARGET] == "kind_0" for one in dump.annotations])
    rows = np.flatnonzero(np.where(first, of.progress < 0.5, of.progress >= 0.5))
    return Outcome.of(judge_label(seed, dump.keep(rows)))


def unique_sentences(seed: int, world: Labelled, words: int = 60, of_words: int = 6) -> Outcome:
    """Every episode has a sentence of its own; contexts are the sum of its words' vectors, one of which is the
    label's."""
    rng = np.random.default_rng([seed, 22])
    of, dump = make(seed, world)
    first = np.flatnonzero(of.place == 0)
    label = [int(dump.annotations[row][TARGET][-1]) for row in first]
    chosen = np.stack([rng.permutation(words)[:of_words] for _ in label])
    codes = rng.standard_normal((words + 2, world.spectrum.width))
    held = codes[chosen].sum(axis=1) + 2 * codes[words + np.array(label)]
    texts = [
        " ".join(["go to the", ("box", "basket")[value], *(f"word{word}" for word in row)])
        for value, row in zip(label, chosen, strict=True)
    ]
    annotations = [{**one, "instruction": texts[of.episode[row]]} for row, one in enumerate(dump.annotations)]
    vectors = dump.taps["context"] * 0.3 + held[of.episode].astype(np.float32)
    return Outcome.of(judge_label(seed, Dump(taps={"context": vectors}, annotations=annotations)))


def stray_value(seed: int, world: Labelled) -> Outcome:
    """A single row holds another value of the label; a further label has two values in equal parts."""
    rng = np.random.default_rng([seed, 23])
    of, dump = make(seed, world)
    other = rng.permutation(np.arange(of.num) % 2)
    annotations = [{**one, "difficulty": f"level_{other[of.episode[row]]}"} for row, one in enumerate(dump.annotations)]
    annotations[int(rng.integers(len(annotations)))][TARGET] = "stray"
    with stored(Dump(taps=dump.taps, annotations=annotations)) as store:
        verdict = judge(store, rigour=rigour_of(seed)).discriminative
    said = verdict.target == TARGET or TARGET in " ".join([verdict.why, *verdict.notes])
    return Outcome.of(verdict, () if said else (REPLACED,))


def several_targets(seed: int, world: Labelled, number: int = 5) -> Outcome:
    """All of them declared, none of them coded: is any told?"""
    rng = np.random.default_rng([seed, 24])
    of, dump = make(seed, world)
    names = [f"target_{index}" for index in range(number)]
    dealt = {name: rng.permutation(np.arange(of.num) % 2) for name in names}
    annotations = [
        {**one, **{name: f"v{values[of.episode[row]]}" for name, values in dealt.items()}}
        for row, one in enumerate(dump.annotations)
    ]
    with stored(Dump(taps=dump.taps, annotations=annotations)) as store:
        found = judge(store, targets=names, rigour=rigour_of(seed))
    verdicts = [verdict for _, verdict, _ in found.targets.values()]
    small = any(verdict.p_yes is not None and verdict.p_yes <= ALPHA for verdict in verdicts)
    yes = any(verdict.verdict == YES for verdict in verdicts)
    return Outcome.of(found.discriminative, [name for name, is_so in ((ANY_SMALL, small), (ANY_YES, yes)) if is_so])
