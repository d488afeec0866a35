"""A comparison that is about to be made: which stores, and what is asked of them. Needs no torch.

In: a `CompareConfig`. Out: an `Inquiry`, found valid, whose `study` does the work.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from mobile_vla.analysis.places import check_comparable, find_subject, name_subjects
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.study import Asked, Progress, Study, make_study
from mobile_vla.analysis.subject import Subject
from mobile_vla.analysis.titles import find_recipe, title_subjects
from mobile_vla.analysis.verdicts.discriminative.targets import declare_targets
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.contexts.reader import Store
from mobile_vla.core.errors import UserError

LEAST = {"permutations": 19, "spikes": 60}  # below, p = .05 is out of reach


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """left       folder of a store, a probe or a run (the store of its last epoch);  right  another one
    stores        in place of both: any number of them
    tap           which of the stored taps; all stores must have it
    targets       labels to decode, declared before looking; empty: what the labels decide
    declared      names of the stores between which one may be called better; empty: all
    untrained     a store of the same rows by the backbone before training
    permutations  for a yes;  spikes  planted codes for a no;  seed  of folds, permutations and spikes
    """

    left: str | None = None
    right: str | None = None
    stores: tuple[str, ...] = ()
    tap: str = "context"
    targets: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    untrained: str | None = None
    permutations: int = 999
    spikes: int = 99
    seed: int = 0

    def __post_init__(self):
        if self.stores and (self.left or self.right):
            raise UserError("names all of them: give it, or left and right, not both", argument="stores")
        if self.right and not self.left:
            raise UserError("is given alone: give left as well", argument="right")
        if not self.stores and not self.left:
            raise UserError("missing: give a store, a probe or a run (and right), or stores", argument="left")
        if len(self.declared) == 1:
            raise UserError(
                f"expected two stores or more, or none for all, got {self.declared[0]}", argument="declared"
            )
        check_rigour(self.permutations, self.spikes)
        if self.seed < 0:
            raise UserError(f"expected 0 or more, got {self.seed}", argument="seed")

    def to_plain(self) -> dict[str, Any]:
        """As the command line composes them."""
        plain = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def check_rigour(permutations: int, spikes: int) -> None:
    """`UserError` where there are too few of them for any verdict."""
    for name, given in (("permutations", permutations), ("spikes", spikes)):
        if given < LEAST[name]:
            raise UserError(f"expected {LEAST[name]} or more, or p = .05 is out of reach, got {given}", argument=name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inquiry:
    """Stores that were found and fit together, and what is asked of them."""

    subjects: list[Subject]
    asked: Asked
    untrained: Store | None

    @classmethod
    def open(cls, settings: CompareConfig) -> "Inquiry":
        """`UserError` where a store is missing, or does not have what is asked."""
        subjects, tap = _find_subjects(settings), settings.tap
        check_comparable(subjects, tap)
        untrained = None if settings.untrained is None else find_subject(settings.untrained, "untrained").store
        if untrained is not None and tap not in untrained.taps:
            there = ", ".join(untrained.taps)
            raise UserError(f"no tap {tap}; there are {there}", argument="untrained", value=settings.untrained)
        if settings.targets:
            for subject in subjects:
                declare_targets(take_sample(subject.store, tap), settings.targets)
        rigour = Rigour(permutations=settings.permutations, spikes=settings.spikes, seed=settings.seed)
        declared = _find_declared(settings.declared, subjects)
        asked = Asked(tap=tap, targets=settings.targets, declared=declared, rigour=rigour)
        return cls(subjects=subjects, asked=asked, untrained=untrained)

    def study(self, progress: Progress) -> Study:
        return make_study(self.subjects, self.asked, self.untrained, progress)


def _find_subjects(settings: CompareConfig) -> list[Subject]:
    if settings.stores:
        subjects = name_subjects([find_subject(text, "stores") for text in settings.stores])
    else:
        given = {"left": settings.left, "right": settings.right}
        found = [(side, find_subject(text, side)) for side, text in given.items() if text is not None]
        subjects = [replace(subject, name=side, title=subject.name) for side, subject in found]
    return [replace(subject, trained_with=find_recipe(subject)) for subject in title_subjects(subjects)]


def _find_declared(names: tuple[str, ...], subjects: list[Subject]) -> tuple[str, ...]:
    """Keys of the subjects; `UserError` for a name that none of them has."""
    known = {subject.called: subject.name for subject in subjects} | {one.name: one.name for one in subjects}
    for name in names:
        if name not in known:
            called = ", ".join(subject.called for subject in subjects)
            raise UserError(
                f"{name} is none of the stores that are compared; they are called {called}", argument="declared"
            )
    return tuple(known[name] for name in names)
