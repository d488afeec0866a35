"""What each input can change: replaced by an unrelated one, how far do contexts and chunks move?

In: a policy and a `Sample`. Out: `Sensitivity`s, of whole inputs over all pairs, and of every prompt token, image token
and region of the frame for the first pair. **Exactly zero is not wired.** Zero is found exactly, since
what is compared runs in batches of one shape. Small is only small: random tokens and patches are unlike any data, so
this tests wiring, not how much of an input is used. Distances are root mean squares over features; a share is a
distance over the one by which unrelated inputs of every kind together move it.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mobile_vla.core.batch import Batch, PairId
from mobile_vla.doctor.sample import Sample, chunks_of, draw_frames, replace_tokens, respond
from mobile_vla.models.policy import Policy

REGIONS = 4  # the frame is examined as 4 x 4 regions
ROWS = REGIONS**2  # pairs that the decoder is given at once


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """context, chunk  root mean square change;  largest_context, largest_chunk  0 only where nothing moved at all"""

    context: float
    chunk: float
    largest_context: float
    largest_chunk: float

    @classmethod
    def between(cls, contexts: tuple[Tensor, Tensor], chunks: tuple[Tensor, Tensor]) -> "Sensitivity":
        moved, acted = ((other.float() - own.float()) for own, other in (contexts, chunks))
        return cls(
            context=float(moved.square().mean().sqrt()),
            chunk=float(acted.square().mean().sqrt()),
            largest_context=float(moved.abs().max()),
            largest_chunk=float(acted.abs().max()),
        )


@dataclass(frozen=True, kw_only=True)
class WholeInputs:
    """Of whole inputs, over all pairs. size: root mean square of a context about its own mean; features behind a layer
    norm have about 1.

    contexts  (P, D) as recorded
    """

    instruction: Sensitivity
    image: Sensitivity
    action_token: Sensitivity
    everything: Sensitivity
    size: float
    contexts: Float[Tensor, "P D"]
    other_words: Float[Tensor, "P D"]


@dataclass(frozen=True, kw_only=True)
class SingleInputs:
    """Of each prompt token, image token and region (row by row) of the first pair."""

    text_tokens: tuple[Sensitivity, ...]
    image_tokens: tuple[Sensitivity, ...]
    regions: tuple[Sensitivity, ...]


@torch.no_grad()
def move_whole_inputs(policy: Policy, sample: Sample) -> WholeInputs:
    """The instruction, the image, the action token, and all inputs but the last, replaced one at a time."""
    own = policy.contexts(sample.own)
    acted = chunks_of(policy, sample.own, own)

    def compare(contexts: Tensor) -> Sensitivity:
        return Sensitivity.between((own, contexts), (acted, chunks_of(policy, sample.own, contexts)))

    other_words = policy.contexts(sample.with_other_words())
    token = policy.backbone.action_token
    kept = token.detach().clone()
    try:
        token.copy_(sample.other_action_token)
        other_token = policy.contexts(sample.own)
    finally:
        token.copy_(kept)
    centred = own.float() - own.float().mean(1, keepdim=True)
    return WholeInputs(
        instruction=compare(other_words),
        image=compare(policy.contexts(sample.with_other_frames())),
        action_token=compare(other_token),
        everything=compare(policy.contexts(sample.with_other_inputs())),
        size=float(centred.square().mean().sqrt()),
        contexts=own.float(),
        other_words=other_words.float(),
    )


@torch.no_grad()
def move_single_inputs(policy: Policy, sample: Sample, seed: int = 1) -> SingleInputs:
    """The first pair alone. Its chunk is the one of a window that holds nothing else."""
    generator = torch.Generator().manual_seed(seed)
    own = sample.own
    device = own.windows.device
    frame = sample.frames[own.pair_frame[:1]]
    text = own.pair_text[0]
    length = int(own.text_mask[text].sum())
    ids, mask = own.text_ids[text, :length], own.text_mask[text, :length]
    tokens = policy.backbone.image_tokens(policy.preprocessing(frame))[0]  # (L, D)
    count = len(tokens)

    def look(ids: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Contexts (N, D) of N texts with one image each, and the chunks (N, C, A) that follow."""
        contexts = _in_parts(policy, ids, mask, tokens)
        return contexts, respond(policy, contexts[:, None])[:, 0]

    def compare(rest: tuple[Tensor, Tensor], moved: tuple[Tensor, Tensor]) -> tuple[Sensitivity, ...]:
        return tuple(
            Sensitivity.between((rest[0][i % ROWS], moved[0][i]), (rest[1][i % ROWS], moved[1][i]))
            for i in range(len(moved[0]))
        )

    def repeat(one: Tensor, times: int) -> Tensor:
        return one.expand(times, *one.shape)

    other_ids = replace_tokens(policy, ids[None].cpu(), generator)[0].to(device)
    other_frame = draw_frames(policy, 1, generator).to(device)
    other_tokens = policy.backbone.image_tokens(policy.preprocessing(other_frame))[0]
    rest = look(repeat(ids, ROWS), repeat(tokens, ROWS))
    of_text = look(_each(ids, other_ids), repeat(tokens, length))
    of_image = look(repeat(ids, count), _each(tokens, other_tokens))
    # What a region changes is told against the frame itself in a batch as large.
    plain = policy.backbone.image_tokens(policy.preprocessing(frame.expand(ROWS, -1, -1, -1)))
    frames = torch.cat([_put_region(frame, other_frame, region) for region in range(REGIONS**2)])
    seen = policy.backbone.image_tokens(policy.preprocessing(frames))
    of_regions = look(repeat(ids, ROWS), seen)
    return SingleInputs(
        text_tokens=compare(rest, of_text),
        image_tokens=compare(rest, of_image),
        regions=compare(look(repeat(ids, ROWS), plain), of_regions),
    )


def reaches(policy: Policy, sample: Sample) -> tuple[set[int], set[int]]:
    """Prompt tokens and image tokens of the first pair through which a gradient runs.

    In half precision a change may be lost in rounding where a gradient is not: only what has neither is not wired.
    """
    own = sample.own
    text = own.pair_text[0]
    length = int(own.text_mask[text].sum())
    batch = _pair_batch(own.text_ids[text : text + 1, :length], own.text_mask[text : text + 1, :length])
    with torch.no_grad():
        tokens = policy.backbone.image_tokens(policy.preprocessing(sample.frames[own.pair_frame[:1]]))
    tokens = tokens.detach().requires_grad_()
    embedded: list[Tensor] = []

    def keep(module: torch.nn.Module, args: tuple, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    hook = policy.backbone.embeddings.register_forward_hook(keep)
    try:
        context = policy.contexts(replace(batch.to(tokens.device), image_tokens=tokens))
    finally:
        hook.remove()
    words = next(output for output in embedded if output.ndim == 3)
    weights = torch.randn(context.shape, generator=torch.Generator().manual_seed(2)).to(context.device)
    found = torch.autograd.grad((context.float() * weights).sum(), [words, tokens], allow_unused=True)
    reached = [set() if grad is None else set(grad[0].abs().amax(1).nonzero()[:, 0].tolist()) for grad in found]
    return reached[0], reached[1]


def _in_parts(
    policy: Policy, ids: Int[Tensor, "N T"], mask: Bool[Tensor, " T"], tokens: Float[Tensor, "N L D"]
) -> Float[Tensor, "N D"]:
    """Contexts of N texts with an image each, `ROWS` at a time; the last part is filled up, so that all are alike."""
    found = []
    for first in range(0, len(ids), ROWS):
        index = torch.arange(first, first + ROWS, device=ids.device).clamp(max=len(ids) - 1)
        batch = _pair_batch(ids[index], mask.expand(ROWS, -1))
        found.append(policy.contexts(replace(batch, image_tokens=tokens[index])))
    return torch.cat(found)[: len(ids)]


def _pair_batch(ids: Tensor, mask: Tensor) -> Batch:
    """One pair a text; image tokens are still to come."""
    pairs = torch.arange(len(ids), device=ids.device)
    nothing = torch.zeros(len(ids), 1, 1, 1, device=ids.device)  # no chunk is asked for
    return Batch(
        text_ids=ids,
        text_mask=mask,
        pair_frame=pairs,
        pair_text=pairs,
        windows=pairs[:, None],
        chunks=nothing,
        chunk_mask=nothing[..., 0].bool(),
        pair_id=tuple(PairId("", i, "") for i in range(len(ids))),
    )


def _each(own: Tensor, other: Tensor) -> Tensor:
    """(N, N, ...): row i is `own` with its i-th entry from `other`."""
    index = torch.arange(len(own), device=own.device)
    changed = own.repeat(len(own), *[1] * own.ndim)
    changed[index, index] = other
    return changed


def _put_region(frame: Tensor, other: Tensor, region: int) -> Tensor:
    """(1, H, V, 3) with one of the regions from `other`."""
    side = frame.shape[1]
    edges = [side * i // REGIONS for i in range(REGIONS + 1)]
    row, column = divmod(region, REGIONS)
    changed = frame.clone()
    rows, columns = slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1])
    changed[:, rows, columns] = other[:, rows, columns]
    return changed
