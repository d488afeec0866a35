"""What parts a checkpoint has, how many parameters each lists, and how many of them are really there.

In: tensors by name, with shape and place, and the table that translates the names. Out: counts by part.

Two names are one tensor where they share their place in the file: torch writes a shared storage once, so this is
certain. Formats that share nothing hold copies instead: names that mean the same parameter, with equal values.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch

from mobile_vla.checkpoints.key_maps import LM_HEAD, KeyMap
from mobile_vla.checkpoints.opened import TensorSpec, Weights
from mobile_vla.models.backbones.anatomy import Anatomy

PARTS = ("vision", "text", "projection", "lora", "action_head", "action_token", "lm_head", "other")
TRAINED = ("lora", "action_head", "action_token")  # by adapters; a full fine-tune trains the backbone as well
PATTERNS = (  # tried in turn, on our name or else on the foreign one
    ("lora", r"(?:.*\.)?lora_.+"),
    ("lm_head", r"(?:.*\.)?lm_head\..+"),
    ("action_token", r"(?:.*\.)?action_token"),
    ("action_head", r"(?:head\.|(?:.*\.)?act_head\.).+"),
)
TOWERS = (  # the same, where it is not known which backbone a file is of
    ("vision", r"(?:.*\.)?vision_(?:model|tower)\..+"),
    ("projection", r"(?:.*\.)?(?:image_to_text_projection|connector)\..+"),
    ("text", r"(?:.*\.)?text_model\..+"),
)
MODEL = "backbone.model."  # before our name of every weight of a backbone's model
EMBEDDINGS = "backbone.model.text_model.model.embed_tokens.weight"  # `lm_head` is tied to it


@dataclass(frozen=True, kw_only=True)
class Count:
    """listed: elements of all tensors;  unique: each once."""

    tensors: int = 0
    listed: int = 0
    unique: int = 0


@dataclass(frozen=True, kw_only=True)
class Twice:
    """Names of one parameter beyond its first.

    kind  registered: the same parameter by our names; tied: `lm_head` and the embeddings; shared: others
    told_by  storage (they share their bytes) or content (copies with equal values)
    """

    kind: str
    told_by: str
    tensors: int
    parameters: int
    example: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """of: part by tensor name;  own: our plain name by tensor name, None without a counterpart.

    first   tensor names of which each stands for one distinct tensor
    differ  pairs of names that should be one parameter and hold different values
    """

    of: Mapping[str, str]
    own: Mapping[str, str | None]
    first: tuple[str, ...]
    twice: tuple[Twice, ...]
    differ: tuple[tuple[str, str], ...]
    counts: Mapping[str, Count]

    @property
    def total(self) -> Count:
        counts = self.counts.values()
        return Count(
            tensors=sum(count.tensors for count in counts),
            listed=sum(count.listed for count in counts),
            unique=sum(count.unique for count in counts),
        )


def find_part(foreign: str, own: str | None, anatomy: Anatomy | None = None) -> str:
    """One of `PARTS`. anatomy: of the backbone that our name is of, where that is known."""
    name = own or foreign
    towers = () if anatomy is not None and name.startswith(MODEL) else TOWERS
    part = next((part for part, pattern in (*PATTERNS, *towers) if re.fullmatch(pattern, name)), None)
    if part is None and anatomy is not None:
        part = anatomy.find_part(name.removeprefix(MODEL))
    return part or "other"


def take_apart(weights: Weights, keys: KeyMap, anatomy: Anatomy | None = None) -> Parts:
    """Copies are only looked for, and values only read, where two names of one parameter have different places."""
    specs = weights.specs
    own = {name: keys.translate(name) for name in specs}
    of = {name: find_part(name, own[name], anatomy) for name in specs}
    # What is tied counts where it belongs: with the embeddings, not with the head that borrows them.
    ordered = sorted(specs, key=lambda name: of[name] == "lm_head")
    seen: dict[Hashable, str] = {}
    meant: dict[str, str] = {}
    found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    first, differ = [], []
    for name in ordered:
        before, told_by = seen.get(specs[name].place), "storage"
        if before is None:
            for alias in _list_aliases(own[name], meant):
                if have_equal_values(weights, alias, name):
                    before, told_by = alias, "content"
                    break
                if own[alias] == own[name]:  # an `lm_head` that is not tied is a parameter of its own, and no error
                    differ.append((alias, name))
        if before is None:
            first.append(name)
            seen[specs[name].place] = name
            if (parameter := own[name]) is not None:
                meant.setdefault(parameter, name)
        else:
            found[_find_kind(of[name], own[before], own[name]), told_by].append((before, name))
    return Parts(
        of=of,
        own=own,
        first=tuple(first),
        twice=tuple(_sum_up(kind, told_by, pairs, specs) for (kind, told_by), pairs in found.items()),
        differ=tuple(differ),
        counts=_count(specs, of, first),
    )


def _list_aliases(own: str | None, meant: Mapping[str, str]) -> list[str]:
    """The names so far that should hold the same values."""
    if own is None:
        return []
    same = (LM_HEAD, EMBEDDINGS) if own == LM_HEAD else (own,)
    return [meant[parameter] for parameter in same if parameter in meant]


def _find_kind(part: str, one: str | None, other: str | None) -> str:
    if one is not None and one == other:
        return "registered"
    return "tied" if part == "lm_head" else "shared"


def have_equal_values(weights: Weights, one: str, other: str) -> bool:
    """Stops at the first values that differ."""
    mine, theirs = weights.specs[one], weights.specs[other]
    if (mine.shape, mine.dtype) != (theirs.shape, theirs.dtype):
        return False
    pairs = zip(weights.chunks(one), weights.chunks(other), strict=False)
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def _sum_up(kind: str, told_by: str, pairs: list[tuple[str, str]], specs: Mapping[str, TensorSpec]) -> Twice:
    return Twice(
        kind=kind,
        told_by=told_by,
        tensors=len(pairs),
        parameters=sum(specs[name].num_elements for _, name in pairs),
        example=pairs[0],
    )


def _count(specs: Mapping[str, TensorSpec], of: Mapping[str, str], first: list[str]) -> dict[str, Count]:
    tensors = Counter(of.values())
    listed, unique = Counter[str](), Counter[str]()
    for name, spec in specs.items():
        listed[of[name]] += spec.num_elements
    for name in first:
        unique[of[name]] += specs[name].num_elements
    return {
        part: Count(tensors=tensors[part], listed=listed[part], unique=unique[part]) for part in PARTS if tensors[part]
    }
