"""The sequence as the text decoder really gets it: what stands at each position, and what can be attended to.

In: a policy and a `Sample`. Out: a `SequenceMap` of the first pair, in a batch with a longer prompt, so that its own
padding shows. Nothing is taken from the layout's word: embeddings and mask are caught on their way into the decoder,
and told by their values from those of the prompt's tokens, the frame's image tokens and the action token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from mobile_vla.doctor.finding import Finding, list_numbers
from mobile_vla.doctor.sample import LONGER, Sample, replace_tokens
from mobile_vla.models.backbones.backbone import Backbone
from mobile_vla.models.policy import Policy

Role = Literal["text", "image", "action", "special", "padding"]
LETTERS: dict[Role, str] = {"text": "T", "image": "I", "action": "A", "special": "S", "padding": "."}


@dataclass(frozen=True, kw_only=True)
class SequenceMap:
    """roles     what each position holds;  attended  whether the mask lets anything attend to it
    text_left    indices of the prompt's tokens that are still in the sequence;  num_text  how many it had
    padding_felt largest change of the context by other padding
    """

    roles: tuple[Role, ...]
    attended: tuple[bool, ...]
    text_left: tuple[int, ...]
    num_text: int
    padding_felt: float

    def draw(self, width: int = 72) -> list[str]:
        """Two lines for each stretch of the sequence: a letter for the role, `|` where it can be attended to."""
        letters = "".join(LETTERS[role] for role in self.roles)
        marks = "".join("|" if attended else " " for attended in self.attended)
        return [
            line
            for first in range(0, len(letters), width)
            for line in (letters[first : first + width], marks[first : first + width])
        ]

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def map_sequence(policy: Policy, sample: Sample, seed: int = 3) -> SequenceMap:
    """Of the first pair; the second text of the batch is longer, the third is the first with other padding."""
    own = sample.own
    text = own.pair_text[0]
    length = int(own.text_mask[text].sum())
    ids = own.text_ids[text, :length]
    generator = torch.Generator().manual_seed(seed)
    more = replace_tokens(policy, torch.zeros(1, LONGER, dtype=torch.int64), generator)[0].to(ids.device)
    padded = torch.cat([ids, torch.ones_like(more)])
    rows = torch.stack([padded, torch.cat([ids, more])])
    mask = torch.ones_like(rows, dtype=torch.bool)
    mask[0, length:] = False
    pairs = torch.arange(2, device=ids.device)
    batch = replace(
        own,
        text_ids=rows,
        text_mask=mask,
        pair_frame=own.pair_frame[:1].expand(2),
        pair_text=pairs,
        pair_id=own.pair_id[:1] * 2,
    )
    with _catch_sequence(policy.backbone) as given:
        before = policy.contexts(batch)
    other = replace(batch, text_ids=torch.stack([torch.cat([ids, more]), rows[1]]))
    felt = float((policy.contexts(other)[0].float() - before[0].float()).abs().max())
    tokens = policy.backbone.image_tokens(policy.preprocessing(sample.frames))[own.pair_frame[0]]
    (embeddings, mask), *_ = given
    roles, left = _tell_roles(policy, embeddings[0], tokens, padded, length)
    attended = mask[0].tolist()
    return SequenceMap(
        roles=tuple(roles), attended=tuple(attended), text_left=tuple(left), num_text=length, padding_felt=felt
    )


@contextmanager
def _catch_sequence(backbone: Backbone) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Embeddings and mask of each run of the decoder, while the block runs."""
    caught: list[tuple[Tensor, Tensor]] = []
    own = backbone.run

    def run(embeddings: Tensor, mask: Tensor, *rest: Any) -> Tensor:
        caught.append((embeddings, mask))
        return own(embeddings, mask, *rest)

    vars(backbone)["run"] = run
    try:
        yield caught
    finally:
        del vars(backbone)["run"]


def judge_sequence(found: SequenceMap) -> list[Finding]:
    """Padding that the mask does not hide."""
    open_to = [i for i, role in enumerate(found.roles) if role == "padding" and found.attended[i]]
    if not open_to:
        return []
    felt = found.padding_felt > 0
    return [
        Finding(
            name="padding_attended",
            severity="error" if felt else "warning",
            what=f"the mask is 1 over padding (positions {list_numbers(open_to)} of {len(found.roles)})",
            means=(
                f"a context depends on how long the other prompts of its batch are (by {found.padding_felt:.2g})"
                if felt
                else "it lies after the action token, where a causal decoder does not look: the context changes by 0"
            ),
            remedy="build the mask from the prompt's length, in models/backbones/layouts.py",
            numbers={"positions": open_to, "felt": found.padding_felt},
        )
    ]


def _tell_roles(
    policy: Policy, embeddings: Tensor, image_tokens: Tensor, ids: Tensor, length: int
) -> tuple[list[Role], list[int]]:
    """By their values. Words that look like special tokens are told by the order of the prompt: as many positions as
    possible hold its tokens in their order."""
    embed = policy.backbone.embeddings
    with policy.backbone.autocast():
        words = embed(ids[:length]).to(embeddings.dtype)
        special = embed(ids.new_tensor(sorted(set(policy.backbone.special_ids.values())))).to(embeddings.dtype)
    action = policy.backbone.action_token.to(embeddings.dtype)
    images = image_tokens.to(embeddings.dtype)
    is_image = [bool((images == row).all(1).any()) for row in embeddings]
    same = [[] if seen else (words == row).all(1).tolist() for row, seen in zip(embeddings, is_image, strict=True)]
    text = _align(same, length)
    roles: list[Role] = []
    has_action = False
    for position, row in enumerate(embeddings):
        if is_image[position]:
            roles.append("image")
        elif position in text:
            roles.append("text")
        elif not has_action and torch.equal(row, action):
            roles.append("action")
            has_action = True
        elif len(special) and (special == row).all(1).any():
            roles.append("special")
        else:
            roles.append("padding")
    return roles, list(text.values())


def _align(same: list[list[bool]], length: int) -> dict[int, int]:
    """Position -> index of the prompt's token there: the longest common subsequence, as late as it can be.

    same  for each position, which of the prompt's tokens it looks like; empty for none
    """
    best = [[0] * (length + 1) for _ in range(len(same) + 1)]  # of the positions and tokens that are left
    for position in reversed(range(len(same))):
        for token in reversed(range(length)):
            skipped = max(best[position + 1][token], best[position][token + 1])
            taken = 1 + best[position + 1][token + 1] if same[position] and same[position][token] else 0
            best[position][token] = max(skipped, taken)
    found: dict[int, int] = {}
    position = token = 0
    while position < len(same) and token < length:
        if best[position + 1][token] == best[position][token]:
            position += 1
        elif same[position] and same[position][token] and 1 + best[position + 1][token + 1] == best[position][token]:
            found[position] = token
            position, token = position + 1, token + 1
        else:
            token += 1
    return found
