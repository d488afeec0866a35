"""From names as users type them to interventions: `probe.variants=[swap,donor,mask_tokens:8]`.

    swap paraphrase empty shuffle     another text (`instructions`)
    donor                             another episode's pictures (`images`)
    blank mean                        one picture for all frames: tests wiring, not use (`images`)
    mask_tokens:<size>                image tokens hidden, one variant a block of `size` (`tokens`)
    subspace:<file.npy>               contexts inside a subspace become the mean row's (`subspace`),
    subspace_donor:, subspace_swap:   or what they are under `donor`, under `swap`

`parse_variants` needs the names alone, so that a mistake is told before anything is loaded. Which episode gets what is
a function of the seed and of the episodes' ids and texts: not of their order, of batches or of ranks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from mobile_vla.core.batch import OWN
from mobile_vla.core.errors import UserError
from mobile_vla.data.assemble import BatchAssembler
from mobile_vla.data.meaning import Meanings
from mobile_vla.data.requests import Intervention, WindowRequest
from mobile_vla.data.stills import MEAN, Still, blank_still
from mobile_vla.interventions.drawing import DONOR, PARAPHRASE, SWAP, Draw, draw_exchanges
from mobile_vla.interventions.images import with_donors, with_still
from mobile_vla.interventions.instructions import empty_texts, shuffle_texts, with_texts
from mobile_vla.interventions.subspace import Subspace, load_basis, with_source
from mobile_vla.interventions.tokens import NAME as MASK_TOKENS
from mobile_vla.interventions.tokens import blocks_of, with_hidden
from mobile_vla.models.policy import Policy

SUBSPACES = {"subspace": None, "subspace_donor": DONOR, "subspace_swap": SWAP}  # -> variant that is the source
ARGUMENTS = {MASK_TOKENS: "<size>", **dict.fromkeys(SUBSPACES, "<file.npy>")}
MISSING = {  # why an episode has no such variant
    SWAP: "no instruction of another meaning",
    PARAPHRASE: "no other instruction of the same meaning",
    "empty": "no instruction to leave out",
    "shuffle": "no other order of its words",
    DONOR: "no other episode with this instruction is left",
}
WIRING = {"blank", MEAN}  # unlike any frame of the data: they move policies that do not use the scene, too
KINDS = (*MISSING, "blank", MEAN, *ARGUMENTS)


@dataclass(frozen=True)
class Spec:
    """A variant as typed: its kind, and what stands behind the colon."""

    kind: str
    argument: str = ""

    @property
    def spelled(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind


@dataclass(frozen=True, kw_only=True)
class Variant:
    """An intervention that knows what it was asked for as; `subspace` where contexts change, not requests alone."""

    name: str
    spec: Spec
    change: Intervention
    subspace: Subspace | None = None

    def __call__(self, request: WindowRequest) -> WindowRequest | None:
        return self.change(request)


def parse_variants(names: Sequence[str]) -> tuple[Spec, ...]:
    """`UserError` for a name that is unknown, lacks its argument, or is there twice."""
    specs = tuple(_parse(name) for name in names)
    _refuse_twice(spec.spelled for spec in specs)
    return specs


def make_variants(
    specs: Sequence[Spec], assembler: BatchAssembler, meanings: Meanings, policy: Policy, seed: int = 0
) -> dict[str, Variant]:
    """The variants by the names that their rows will have; `UserError` where this policy or a file does not allow one.

    meanings: of all instructions of the data, among them those of the assembler's episodes
    """
    makers = Makers(assembler, meanings, policy, seed)
    made = [variant for spec in specs for variant in makers.make(spec)]
    _refuse_twice(variant.name for variant in made)
    return {variant.name: variant for variant in made}


class Makers:
    """What makes the variants of each kind, for the episodes of one assembler."""

    def __init__(self, assembler: BatchAssembler, meanings: Meanings, policy: Policy, seed: int):
        self.assembler, self.meanings, self.policy, self.seed = assembler, meanings, policy, seed
        told = assembler.episodes, meanings, assembler.tokenize.length, seed
        self.simple: Mapping[str, Callable[[], Intervention]] = {
            SWAP: lambda: with_texts(self.draw.swap),
            PARAPHRASE: lambda: with_texts(self.draw.paraphrase),
            "empty": lambda: with_texts(empty_texts(assembler.episodes)),
            "shuffle": lambda: with_texts(shuffle_texts(*told)),
            DONOR: lambda: with_donors(self.draw.donors),
            "blank": lambda: with_still(blank_still(policy.preprocessing)),
            MEAN: lambda: with_still(Still.of(MEAN, assembler.mean_frame())),
        }

    @cached_property
    def draw(self) -> Draw:
        """The same as that of the effects in `train.json` and `eval.json`."""
        return draw_exchanges(self.assembler.episodes, self.meanings, self.assembler.tokenize.length, self.seed)

    def make(self, spec: Spec) -> Iterator[Variant]:
        """One, or for image tokens one a block."""
        if spec.kind in self.simple:
            yield Variant(name=spec.kind, spec=spec, change=self.simple[spec.kind]())
        elif spec.kind == MASK_TOKENS:
            count, size = self.policy.backbone.num_image_tokens, int(spec.argument)
            if size > count:
                raise UserError(
                    f"{spec.spelled}, but this model has {count} image tokens; expected 1 to {count}",
                    argument="variants",
                )
            for name, block in blocks_of(count, size):
                yield Variant(name=name, spec=spec, change=with_hidden(block))
        else:
            source = SUBSPACES[spec.kind]
            basis = load_basis(Path(spec.argument), self.policy.backbone.context_width)
            yield Variant(
                name=f"{spec.kind}:{Path(spec.argument).stem}",
                spec=spec,
                change=with_source(self.simple[source]() if source else None, source or OWN),
                subspace=Subspace(basis=basis, source=source),
            )


def _parse(name: str) -> Spec:
    kind, _, argument = name.partition(":")
    wanted = ARGUMENTS.get(kind, "")
    known = ", ".join(f"{kind}:{ARGUMENTS[kind]}" if kind in ARGUMENTS else kind for kind in KINDS)
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"there is no '{name}'{meant}; expected {known}", argument="variants")
    if bool(argument) != bool(wanted):
        expected = f"{kind}:{wanted}" if wanted else kind
        raise UserError(f"'{name}' has {'no' if wanted else 'an'} argument; expected {expected}", argument="variants")
    if kind == MASK_TOKENS and not (argument.isdecimal() and int(argument) > 0):
        raise UserError(f"{name}: the size of a block is at least 1 image token, got '{argument}'", argument="variants")
    return Spec(kind, argument)


def _refuse_twice(names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"names {twice[0]} twice; name each variant once", argument="variants")
