"""The instructions: several phrasings a side, English and Korean.

`PHRASES[i]` says the same for both sides, with the same number of words, so that swapping sides never changes a
prompt's length (nor what a mask over it lets through).
"""

import numpy as np

from mobile_vla.sources.synthetic.scene import Side

TEMPLATES = (
    ("Pass the box on the {side}", "left", "right"),
    ("Keep {side} of the box", "left", "right"),
    ("Go {side} around the box to the target", "left", "right"),
    ("{side} 돌아 가세요", "왼쪽으로", "오른쪽으로"),
    ("상자를 {side} 피해 목표로 가세요", "왼쪽으로", "오른쪽으로"),
)
PHRASES: tuple[dict[Side, str], ...] = tuple(
    {"left": text.format(side=left), "right": text.format(side=right)} for text, left, right in TEMPLATES
)


def phrase(side: Side, rng: np.random.Generator) -> str:
    """One phrasing of that side, each equally likely."""
    return PHRASES[int(rng.integers(len(PHRASES)))][side]


def side_of(instruction: str) -> Side:
    """The side that one of `PHRASES` names."""
    for pair in PHRASES:
        for side, text in pair.items():
            if text == instruction:
                return side
    raise ValueError(f"instruction: one of the synthetic phrasings expected, got {instruction!r}")
