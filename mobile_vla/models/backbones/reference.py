"""What transformers itself makes of a frame and a prompt: by its own processor and its own whole forward pass.

Read anew from the folder, beside our own reading of it, so that a difference between the two shows. In: a frame and an
instruction. Out: pixel values, token ids, hidden states, contexts. Float32, on the CPU.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from mobile_vla.models.backbones.layouts import Layout

Frame = UInt8[np.ndarray, "height width 3"]


class Reference(ABC):
    """One family's. `model` is the whole model of transformers, with its language-model head.

    layout     the sequence that its processor writes
    has_head   whether the folder holds a language-model head (or the embeddings are tied to it)
    """

    layout: Layout
    model: Any
    tokenizer: Any
    has_head: bool

    @abstractmethod
    def read_pixels(self, frame: Frame, resize: bool) -> Float[Tensor, "3 H H"]:
        """Pixel values as its image processor makes them; without `resize` the frame has the right size already."""

    @abstractmethod
    def write(self, instruction: str, prompt: str) -> list[int]:
        """Token ids of the whole sequence, with the places of image tokens.

        prompt  our template, by which the instruction is put into words
        """

    @abstractmethod
    def encode(self, pixels: Float[Tensor, "3 H H"]) -> Float[Tensor, "L D"]:
        """Image tokens."""

    @abstractmethod
    def run(
        self, pixels: Float[Tensor, "3 H H"], ids: Sequence[int], behind: Float[Tensor, "n D"]
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N words"]]:
        """Last hidden states and logits of a whole forward pass from pixels and ids, with embeddings `behind` them."""

    @abstractmethod
    def decode(self, embeddings: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """Last hidden states of its decoder alone."""

    @abstractmethod
    def list_fixed_ids(self) -> Mapping[str, tuple[int, int]]:
        """Special tokens whose id the architecture says: name -> (there, of the tokenizer)."""

    def embed(self, ids: Sequence[int]) -> Float[Tensor, "n D"]:
        return self.model.get_input_embeddings()(torch.tensor(list(ids), dtype=torch.int64))

    def measure_loss(self, pixels: Float[Tensor, "3 H H"], sentence: str) -> float:
        """Mean negative log-likelihood of the sentence's words behind the image, in nats a token."""
        ids = self.write(sentence, "{instruction}")
        words = self.tokenizer(sentence, add_special_tokens=False)["input_ids"]
        _, logits = self.run(pixels, ids, self.embed([]))
        return float(F.cross_entropy(logits[-len(words) - 1 : -1], torch.tensor(words)))
