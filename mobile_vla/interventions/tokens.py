"""Image tokens that the decoder cannot attend to, one by one or in blocks: which of them matter?

A hidden token is masked in every layer's attention. It keeps its place, so the positions of all others stay, and
nothing is put in for it: a mean token would be an input that the model has to make something of, and would depend on
what the mean is taken over. The vision tower runs once, the decoder once for each block.
"""

from collections.abc import Iterator
from dataclasses import replace

from mobile_vla.data.requests import Intervention

NAME = "mask_tokens"


def blocks_of(num_tokens: int, size: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """(`mask_tokens_00-07`, (0, 8)), …; the last one is what is left."""
    digits = max(len(str(num_tokens - 1)), 2)
    for first in range(0, num_tokens, size):
        last = min(first + size, num_tokens) - 1
        name = f"{NAME}_{first:0{digits}d}" + (f"-{last:0{digits}d}" if last > first else "")
        yield name, (first, last + 1)


def with_hidden(block: tuple[int, int]) -> Intervention:
    return lambda request: replace(request, hidden=block)
