"""Where the parts of a backbone's model are: the paths by which taps, adapters, caches, checks and counts find them.

All paths are relative to the model, as `get_submodule` takes them. A part that a model does not have is None.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Part = Literal["vision", "projection", "text"]


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The parts of a model.

    vision         the vision tower; it is given pixel values, first or as `pixel_values`
    projection     the module that puts out image tokens (U, L, D), itself or first of several outputs
    text           the text decoder, with its embeddings and everything behind its layers
    embeddings     its word embeddings
    text_layers    its layers, a `ModuleList`; each puts out states (P, N, D), itself or first of several outputs
    norm           what follows its layers, if it is part of `text`
    vision_layers  the vision tower's layers, with one output row for each frame
    linears        for each part, a regular expression over the full names of the linear layers that adapters go on,
                   where `{layer}` stands for the number of a text layer; None: every linear layer of the part
    attention      within a text layer, the module whose second output is its attention (P, heads, N, N); None: there
                   are no attention maps
    projection_attention  the module whose second output says which image keys each image token attends to
                   (U, heads, L, keys); None: image tokens lie over the frame themselves
    """

    vision: str
    projection: str
    text: str
    embeddings: str
    text_layers: str
    norm: str | None = None
    vision_layers: str | None = None
    linears: dict[Part, str] | None = None
    attention: str | None = None
    projection_attention: str | None = None

    def find_part(self, name: str) -> Part | None:
        """The part that a module or a weight of this name belongs to."""
        return next((part for part, path in self._places() if name == path or name.startswith(f"{path}.")), None)

    def find_text_layer(self, name: str) -> int | None:
        """The number of the text layer that it belongs to."""
        found = re.match(rf"{re.escape(self.text_layers)}\.(\d+)\.", name)
        return int(found[1]) if found else None

    def _places(self) -> Iterator[tuple[Part, str]]:
        """The longest path first, so that a part inside another is found."""
        places: list[tuple[Part, str]] = [("vision", self.vision), ("projection", self.projection), ("text", self.text)]
        yield from sorted(places, key=lambda place: -len(place[1]))


@dataclass(frozen=True, kw_only=True)
class ImageGrid:
    """What a map of image attention is made of: `classes` keys, rows x columns of patches (row by row), other keys.

    Where image tokens lie over the frame themselves, they are the patches, and there is nothing else.
    """

    rows: int
    columns: int
    classes: int = 0
    others: int = 0
