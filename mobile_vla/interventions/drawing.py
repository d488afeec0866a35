"""Which text and whose frames take the place of an episode's own: one draw for training, `eval` and probes.

In: episodes, what their instructions mean, a seed. Out: a `Draw`. It depends on the seed and on the episodes' ids and
texts alone: not on their order, on batches or ranks, nor on the seed of a training.

    swap        a text that asks for something else, of as many tokens where there is one, since a context may move
                with the length alone
    paraphrase  another text that asks for the same: the control
    donor       another episode of the same instruction, so that only the picture differs

Donors come in pairs that lend to each other and to nobody else: what two pairs show is independent, and the pair is the
unit of every interval and test on replaced images.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mobile_vla.data.meaning import Meanings
from mobile_vla.sources.schema import Episode

SWAP, PARAPHRASE, DONOR = "swap", "paraphrase", "donor"
SEED = 0  # of the draw where no other is given: effects and probes show the same, whatever seed a training had
Length = Callable[[str], int]  # of a text, in tokens
Texts = list[str | None]
Donors = Mapping[int, int]  # index of an episode -> index of its donor, and back


@dataclass(frozen=True, kw_only=True)
class Draw:
    """swap, paraphrase  by index of the episode; None where there is no such text
    donors           pairs of one text, then (of those left over) of texts that mean the same
    further_donors   these, and pairs of those that are left over then: their instructions differ
    """

    swap: Texts
    paraphrase: Texts
    donors: Donors
    further_donors: Donors


def draw_exchanges(episodes: Sequence[Episode], meanings: Meanings, length: Length, seed: int = SEED) -> Draw:
    """meanings: of all instructions of the data, among them those of the episodes"""
    donors, further = pair_donors(episodes, meanings, seed)
    return Draw(
        swap=swap_texts(episodes, meanings, length, seed),
        paraphrase=paraphrase_texts(episodes, meanings, length, seed),
        donors=donors,
        further_donors=further,
    )


def swap_texts(episodes: Sequence[Episode], meanings: Meanings, length: Length, seed: int) -> Texts:
    """For each episode a text with another meaning."""
    known = sorted(meanings.of)
    return [
        choose_nearest(e.instruction, meanings.swaps(e.instruction, known), length, draw_for(seed, SWAP, e.id))
        for e in episodes
    ]


def paraphrase_texts(episodes: Sequence[Episode], meanings: Meanings, length: Length, seed: int) -> Texts:
    """For each episode another text of the same meaning."""
    known = sorted(meanings.of)
    return [
        choose_nearest(
            e.instruction, meanings.paraphrases(e.instruction, known), length, draw_for(seed, PARAPHRASE, e.id)
        )
        for e in episodes
    ]


def pair_donors(episodes: Sequence[Episode], meanings: Meanings, seed: int) -> tuple[Donors, Donors]:
    """`donors` and `further_donors` of a `Draw`; with an odd number of episodes the last one has none."""
    index = {episode.id: i for i, episode in enumerate(episodes)}
    by_text: dict[str, list[str]] = defaultdict(list)
    for episode in episodes:
        by_text[episode.instruction].append(episode.id)
    pairs: list[tuple[str, str]] = []
    left: dict[str, list[str]] = defaultdict(list)
    for text, ids in by_text.items():
        found, rest = _deal(ids, seed, "text", text)
        pairs += found
        left[meanings.of[text]] += rest
    alone: list[str] = []
    for meaning, ids in left.items():
        found, rest = _deal(ids, seed, "meaning", meaning)
        pairs += found
        alone += rest
    others, _ = _deal(alone, seed, "other")

    def both_ways(pairs: Sequence[tuple[str, str]]) -> Donors:
        return {index[a]: index[b] for one, other in pairs for a, b in ((one, other), (other, one))}

    return both_ways(pairs), both_ways([*pairs, *others])


def draw_units(episodes: Sequence[Episode], donors: Donors, count: int, seed: int = SEED) -> list[tuple[int, ...]]:
    """At most `count` episodes, by index: pairs that lend each other their images, then episodes without a partner."""
    ids = [episode.id for episode in episodes]
    pairs = [(i, j) for i, j in donors.items() if ids[i] < ids[j]]
    alone = [(i,) for i in range(len(ids)) if i not in donors]
    found: list[tuple[int, ...]] = []
    for units in (pairs, alone):
        by_id = sorted(units, key=lambda unit: ids[unit[0]])
        for place in draw_for(seed, "units").permutation(len(units)):
            if sum(map(len, found)) + len(by_id[place]) <= count:
                found.append(by_id[place])
    return found


def choose_nearest(own: str, others: Sequence[str] | set[str], length: Length, rng: np.random.Generator) -> str | None:
    """One of the texts whose length is nearest to the own one's."""
    if not others:
        return None
    gaps = {text: abs(length(text) - length(own)) for text in sorted(others)}
    nearest = [text for text, gap in gaps.items() if gap == min(gaps.values())]
    return nearest[int(rng.integers(len(nearest)))]


def draw_for(seed: int, *names: str) -> np.random.Generator:
    """A stream of random numbers of its own for each seed and names: not for how many others draw, or when."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def _deal(ids: Sequence[str], seed: int, *names: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Random disjoint pairs, and who is left over."""
    order = draw_for(seed, DONOR, *names).permutation(sorted(ids)).tolist()
    even = len(order) // 2 * 2
    return list(zip(order[0:even:2], order[1:even:2], strict=True)), order[even:]
