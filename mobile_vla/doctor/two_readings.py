"""Two readings of one folder of weights, ours and transformers' own: the same picture, the same words.

In: a model's `Source`, and a `Reference`. Out: a `Reading` each. Ours is made afresh in float32 on the CPU.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.models.backbones.layouts import Layout
from mobile_vla.models.backbones.loading import Source, load_model
from mobile_vla.models.backbones.reference import Reference
from mobile_vla.models.backbones.tokenizer import Prompter

INSTRUCTION = "Go past the box on the left side to the target"
CAMERA = (480, 640)  # height and width of a frame


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one of the two makes of the same picture and words.

    exact, resized  pixel values of the picture at the vision tower's size, and as a camera gives it
    ids             the sequence with the processor's layout, without its image tokens
    states          its hidden states, in front of the action token
    contexts        at the action token behind it, by the name of the layout
    """

    exact: Tensor
    resized: Tensor
    image_tokens: Tensor
    ids: tuple[int, ...]
    states: Tensor
    contexts: dict[str, Tensor]


def draw_frames(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture with an edge, at the vision tower's own size and as a camera gives it."""

    def draw(height: int, width: int) -> np.ndarray:
        row, column = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        picture = np.stack((row, column, (1 + np.sin(9 * (row + column))) / 2), axis=-1)
        picture[(abs(row - 0.6) < 0.15) & (abs(column - 0.3) < 0.1)] = (0.9, 0.2, 0.1)
        return (picture * 255).astype(np.uint8)

    return draw(size, size), draw(*CAMERA)


def read_ours(source: Source, written: Source, frames: tuple[np.ndarray, np.ndarray]) -> tuple[Reading, Tensor]:
    """With the action token that both are given. written: the same source with the processor's layout."""
    model = load_model(source)
    exact, resized = (_prepare(source.weights_preprocessing, frame) for frame in frames)
    ids, mask = Prompter(source.tokenizer, source.config.prompt)([INSTRUCTION])
    pair = torch.zeros(1, dtype=torch.int64)
    contexts, tokens = {}, torch.empty(0)
    for one in (source, written):  # the processor's last: its states are kept
        backbone = one.config.wrap(model, one.special_ids).eval()
        tokens = backbone.image_tokens(exact[None])
        contexts[backbone.layout.name] = backbone.decode(tokens, ids, mask, pair, pair)[0]
    sequence = backbone.assemble(tokens, ids, mask, pair)
    states = backbone.run(sequence.embeddings, sequence.mask)[0, : int(sequence.action_position)]
    before, behind = (
        [written.special_ids[name] for name in names]
        for names in (backbone.layout.before_image, backbone.layout.behind_image)
    )
    reading = Reading(
        exact=exact,
        resized=resized,
        image_tokens=tokens[0],
        ids=(*before, *behind, *ids[0].tolist()),
        states=states,
        contexts=contexts,
    )
    return reading, backbone.action_token.detach().clone()


def _prepare(preprocessing: Preprocessing, frame: np.ndarray) -> Tensor:
    return preprocessing(preprocessing.resize(torch.from_numpy(frame)[None]))[0]


def read_theirs(source: Source, reference: Reference, frames: tuple[np.ndarray, np.ndarray], token: Tensor) -> Reading:
    exact, resized = reference.read_pixels(frames[0], resize=False), reference.read_pixels(frames[1], resize=True)
    ids, layout = reference.write(INSTRUCTION, source.config.prompt), reference.layout
    image = reference.encode(exact)
    first, behind = len(layout.before_image), len(layout.before_image) + len(image)
    states, _ = reference.run(exact, ids, token[None])
    contexts = {layout.name: states[-1]}
    own = source.config.find_layout()
    if own.name != layout.name:
        words = ids[behind + len(layout.behind_image) :]
        contexts[own.name] = _compose(reference, own, image, words, token)
    return Reading(
        exact=exact,
        resized=resized,
        image_tokens=image,
        ids=(*ids[:first], *ids[behind:]),
        states=states[:-1],
        contexts=contexts,
    )


def _compose(reference: Reference, layout: Layout, image: Tensor, words: list[int], token: Tensor) -> Tensor:
    """The context of another layout, from the reference's own parts."""
    if layout.over_text:  # a known fault, which no reference has
        return torch.full_like(token, torch.nan)

    def embed(names: tuple[str, ...]) -> Tensor:
        return reference.embed(reference.tokenizer.convert_tokens_to_ids(list(names)))

    before = torch.cat([embed(layout.before_image), image, embed(layout.behind_image), reference.embed(words)])
    return reference.decode(torch.cat([before, token[None], embed(layout.behind_action)]))[len(before)]
