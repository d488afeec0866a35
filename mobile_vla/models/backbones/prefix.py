"""What the decoder has computed for one text serves other texts: the positions in front of their first difference.

Image tokens come before the text and attention is causal, so there a layer's keys and values depend on the frame alone
(and on the words that all prompts begin with). In: a pass over pairs that is given a `Recording`. Out: a `Prefix` for
other pairs of the same frames, which then run their own tokens alone and give what they give without, up to rounding.

Both speak the language of transformers' caches, as far as a decoder layer does.
"""

from collections.abc import Sequence
from itertools import takewhile

import torch
from jaxtyping import Float, Int
from torch import Tensor

KeysValues = tuple[Float[Tensor, "P heads N width"], Float[Tensor, "P heads N width"]]


class Recording:
    """Keys and values of every layer of one pass, whose pairs run all of their positions."""

    length = 0

    def __init__(self):
        self.layers: list[KeysValues] = []

    def get_seq_length(self) -> int:
        return self.length

    def update(self, keys: Tensor, values: Tensor, layer: int) -> KeysValues:
        """Called by each layer's attention, first to last."""
        self.layers.append((keys, values))
        return keys, values


class Prefix:
    """The first `length` positions of the recorded pairs `rows`, one for each pair of the pass that it is given to."""

    def __init__(self, recording: Recording, rows: Int[Tensor, " P"], length: int):
        self.recording, self.rows, self.length = recording, rows, length

    def get_seq_length(self) -> int:
        return self.length

    def update(self, keys: Tensor, values: Tensor, layer: int) -> KeysValues:
        """Those of a layer at all positions; only one layer's are gathered at a time."""
        before = (part[:, :, : self.length].index_select(0, self.rows) for part in self.recording.layers[layer])
        all_keys, all_values = (torch.cat(parts, dim=2) for parts in zip(before, (keys, values), strict=True))
        return all_keys, all_values


def count_common(texts: Sequence[Sequence[int]]) -> int:
    """Tokens that all texts begin with."""
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*texts, strict=False)))
