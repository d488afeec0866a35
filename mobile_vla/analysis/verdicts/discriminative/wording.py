"""Which words and sentences an instruction is made of: what a label could be read from without looking at anything.

In: texts. Out: columns of 0 and 1, one a sentence, word, pair of words or short run of characters that several texts
have and several lack. What only one text has tells nothing about another one.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float

FEWEST_TEXTS = 2
MOST_COLUMNS = 1500  # the most frequent
RUNS = (2, 3, 4)  # characters: languages that write no spaces, and endings


def find_words(texts: Sequence[str]) -> Float[np.ndarray, "E V"]:
    """Sentences, words and pairs of words."""
    return _columns([{("sentence", text), *_words(text)} for text in texts])


def find_runs(texts: Sequence[str]) -> Float[np.ndarray, "E V"]:
    """Runs of characters."""
    return _columns([_runs(text) for text in texts])


def _words(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return {(word,) for word in words} | set(pairwise(words))


def _runs(text: str) -> set[tuple[str, ...]]:
    plain = f" {' '.join(text.casefold().split())} "
    return {(plain[at : at + size],) for size in RUNS for at in range(len(plain) - size + 1)}


def _columns(found: Sequence[set]) -> Float[np.ndarray, "E V"]:
    counts = Counter(token for tokens in found for token in tokens)
    kept = [token for token, count in counts.most_common() if FEWEST_TEXTS <= count <= len(found) - FEWEST_TEXTS][
        :MOST_COLUMNS
    ]
    place = {token: column for column, token in enumerate(sorted(kept))}
    columns = np.zeros((len(found), len(kept)))
    for row, tokens in enumerate(found):
        columns[row, [place[token] for token in tokens if token in place]] = 1
    return columns
