"""Other texts in the place of an episode's own: one for all of its windows, or None where there is none.

`swap` asks for something else in as many tokens, or nearly, since a context may move with the length alone;
`paraphrase`, the control, asks for the same; `empty` asks for nothing; `shuffle` has the own words in another order.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mobile_vla.data.meaning import Meanings
from mobile_vla.data.requests import WindowRequest
from mobile_vla.data.schema import Episode
from mobile_vla.training.evaluation import Intervention
from mobile_vla.training.interventions.drawing import draw_for

ORDERS = 32  # of an instruction's words that are tried for one with as many tokens
Texts = list[str | None]
Length = Callable[[str], int]  # of a text, in tokens


def swap_texts(episodes: Sequence[Episode], meanings: Meanings, length: Length, seed: int) -> Texts:
    """Of each episode a text with another meaning."""
    known = sorted(meanings.of)
    return [
        choose_nearest(e.instruction, meanings.swaps(e.instruction, known), length, draw_for(seed, "swap", e.id))
        for e in episodes
    ]


def paraphrase_texts(episodes: Sequence[Episode], meanings: Meanings, length: Length, seed: int) -> Texts:
    """Of each episode another text of the same meaning."""
    known = sorted(meanings.of)
    return [
        choose_nearest(
            e.instruction, meanings.paraphrases(e.instruction, known), length, draw_for(seed, "paraphrase", e.id)
        )
        for e in episodes
    ]


def empty_texts(episodes: Sequence[Episode]) -> Texts:
    """No instruction: what is left is the prompt around it, which is shorter than any other."""
    return ["" if episode.instruction else None for episode in episodes]


def shuffle_texts(episodes: Sequence[Episode], meanings: Meanings, length: Length, seed: int) -> Texts:
    """Of each episode its own words in another order; never an order that is another instruction of the data."""
    return [
        choose_nearest(
            e.instruction,
            _orders(e.instruction, draw_for(seed, "orders", e.id)) - meanings.of.keys(),
            length,
            draw_for(seed, "shuffle", e.id),
        )
        for e in episodes
    ]


def choose_nearest(own: str, others: Sequence[str] | set[str], length: Length, rng: np.random.Generator) -> str | None:
    """One of the texts whose length is nearest to the own one's."""
    if not others:
        return None
    gaps = {text: abs(length(text) - length(own)) for text in sorted(others)}
    nearest = [text for text, gap in gaps.items() if gap == min(gaps.values())]
    return nearest[int(rng.integers(len(nearest)))]


def with_texts(texts: Sequence[str | None]) -> Intervention:
    """texts: by index of the episode."""

    def change(request: WindowRequest) -> WindowRequest | None:
        text = texts[request.episode]
        return None if text is None else replace(request, instruction=text)

    return change


def _orders(text: str, rng: np.random.Generator) -> set[str]:
    words = text.split()
    return {" ".join(words[i] for i in rng.permutation(len(words))) for _ in range(ORDERS)} - {" ".join(words)}
