"""Other texts in the place of an episode's own: one for all of its windows, or None where there is none.

`swap` and `paraphrase` are drawn in `drawing`; `empty` asks for nothing; `shuffle` has the own words in another order.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mobile_vla.data.meaning import Meanings
from mobile_vla.data.requests import Intervention, WindowRequest
from mobile_vla.interventions.drawing import Length, Texts, choose_nearest, draw_for
from mobile_vla.sources.schema import Episode

ORDERS = 32  # of an instruction's words that are tried for one with as many tokens


def empty_texts(episodes: Sequence[Episode]) -> Texts:
    """No instruction: what is left is the prompt around it, which is shorter than any other."""
    return ["" if episode.instruction else None for episode in episodes]


def shuffle_texts(episodes: Sequence[Episode], meanings: Meanings, length: Length, seed: int) -> Texts:
    """For each episode its own words in another order; never an order that is another instruction of the data."""
    return [
        choose_nearest(
            e.instruction,
            _orders(e.instruction, draw_for(seed, "orders", e.id)) - meanings.of.keys(),
            length,
            draw_for(seed, "shuffle", e.id),
        )
        for e in episodes
    ]


def with_texts(texts: Sequence[str | None]) -> Intervention:
    """texts: by index of the episode."""

    def change(request: WindowRequest) -> WindowRequest | None:
        text = texts[request.episode]
        return None if text is None else replace(request, instruction=text)

    return change


def _orders(text: str, rng: np.random.Generator) -> set[str]:
    words = text.split()
    return {" ".join(words[i] for i in rng.permutation(len(words))) for _ in range(ORDERS)} - {" ".join(words)}
