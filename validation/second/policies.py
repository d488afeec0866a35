"""Policies of which it is known how far they follow the instruction and the picture, with the rows of a probe.

In: a seed, and a `Follower`. Out: what a store of its rows is called by either part of the actionable verdict.

A swap gives an episode the other text, a paraphrase its own in other words, a donor the picture of another episode of
the same text at about the same progress.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.actionable.verdict import judge_actionable
from validation.outcome import Outcome
from validation.second.chunks import DIRECTIONS, SCENE_AT, Driven, Made, make
from validation.second.disk import stored
from validation.second.driving import JITTER
from validation.second.dumps import Dump, annotate, join
from validation.second.recordings import Recordings
from validation.second.spectrum import turn
from validation.strip import FEW, rigour_of

PIXELS = 48
INSTRUCTION, IMAGE = "instruction", "image"


@dataclass(frozen=True, kw_only=True)
class Follower:
    """swap, paraphrase  how far it goes from its own text's course towards the other text's, by each of the two
    back     the same for swaps of the second text, where it differs
    spread   of these between episodes, sd
    picture  how far it follows the picture: 1 as the best prediction from it does
    """

    world: Driven
    swap: float = 1.0
    back: float | None = None
    paraphrase: float = 0.0
    spread: float = 0.2
    picture: float = 1.0
    jitter: float = JITTER


def followed(seed: int, part: str, policy: Follower, strength: float | None = None) -> Outcome:
    """strength  of the part that is asked about, in place of the policy's"""
    if strength is not None:
        policy = replace(policy, **{"swap" if part == INSTRUCTION else "picture": strength})
    with stored(dump_of(seed, policy, part)) as store:
        return Outcome.of(judge_actionable(take_sample(store, "context"), rigour=rigour_of(seed, FEW)).parts[part])


def dump_of(seed: int, policy: Follower, part: str) -> Dump:
    """Rows as recorded, and those that the part needs."""
    made = make(seed, policy.world)
    rng = np.random.default_rng([seed, 51])
    of, own = made.of, np.eye(2)[made.drive.text][made.of.episode]
    seen = made.drive.scene
    predict = made.drive.predict
    scene = policy.picture * seen
    as_recorded = _rows(seed, made, own @ [0, 1], predict(rng, own, scene, policy.jitter), made.texts, None, seen)
    if part == INSTRUCTION:
        towards = own[:, ::-1] - own
        strength = np.where(made.drive.text == 0, policy.swap, policy.swap if policy.back is None else policy.back)
        spread = policy.spread * rng.standard_normal((2, of.num))
        other = [f"go {DIRECTIONS[1 - code]}" for code in made.drive.text]
        again = [f"please {text}" for text in made.texts]
        swapped = own + (strength + spread[0])[of.episode][:, None] * towards
        reworded = own + (policy.paraphrase + spread[1] * bool(policy.paraphrase))[of.episode][:, None] * towards
        told = [predict(rng, weights, scene, policy.jitter) for weights in (swapped, reworded)]
        parts = [
            as_recorded,
            _rows(seed, made, swapped @ [0, 1], told[0], other, "swap", seen),
            _rows(seed, made, reworded @ [0, 1], told[1], again, "paraphrase", seen),
        ]
    else:
        shown = pair_rows(of, made.drive.text, rng)
        lent = np.flatnonzero(shown >= 0)
        source = np.where(shown >= 0, shown, np.arange(len(shown)))
        moved = predict(rng, own, scene[source], policy.jitter)
        donor = _rows(seed, made, own @ [0, 1], moved, made.texts, "donor", seen[source], source)
        parts = [as_recorded, donor.keep(lent)]
    return join(parts)


def pair_rows(of: Recordings, text: Int[np.ndarray, " E"], rng: np.random.Generator) -> Int[np.ndarray, " N"]:
    """Of each row the one of its partner that is nearest in progress; episodes of one text lend to each other in
    pairs; -1 where one is left over."""
    partner = np.full(of.num, -1)
    for value in np.unique(text):
        members = rng.permutation(np.flatnonzero(text == value))
        even = members[: len(members) // 2 * 2]
        partner[even[0::2]], partner[even[1::2]] = even[1::2], even[0::2]
    rows_of = [np.flatnonzero(of.episode == index) for index in range(of.num)]
    found = np.full(len(of.episode), -1)
    for row, episode in enumerate(of.episode.tolist()):
        if partner[episode] >= 0:
            rows = rows_of[partner[episode]]
            found[row] = rows[np.abs(of.progress[rows] - of.progress[row]).argmin()]
    return found


def _rows(
    seed: int,
    made: Made,
    side: np.ndarray,
    predicted: np.ndarray,
    texts: list[str],
    variant: str | None,
    scene: np.ndarray,
    shown: np.ndarray | None = None,
) -> Dump:
    """side  (N,) 0 to 1: how far contexts have moved to the second text's;  scene  (N, A) in the picture"""
    rng = np.random.default_rng([seed, 52])  # the same for all variants
    sd = made.components.std(axis=0)
    x = made.components.copy()
    own = made.drive.text[made.of.episode]
    x += ((side - own)[:, None] * rng.standard_normal(x.shape[1])) * sd
    at = list(SCENE_AT)
    x[:, at] += sd[at] * (scene - made.drive.scene)
    mixed = rng.standard_normal((scene.shape[1] + 1, PIXELS))
    light = np.column_stack([scene, made.of.progress])
    pixels = np.tanh(0.4 * light @ mixed) + 0.1 * np.random.default_rng([seed, 53]).standard_normal((len(x), PIXELS))
    annotations = annotate(
        made.of,
        labels=made.labels,
        texts=texts,
        variant=variant,
        action=made.drive.chunk,
        predicted=predicted,
        shown=shown,
    )
    return Dump(taps={"context": turn(x, seed), "pixels": pixels.astype(np.float32)}, annotations=annotations)
