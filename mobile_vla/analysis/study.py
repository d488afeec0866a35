"""What `compare` finds out: an account of every store, and how each pair differs.

In: subjects by name, a tap, what is asked. Out: a `Study`, from which the report, `compare.json` and TensorBoard are
written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mobile_vla.analysis.account import Account, take_account
from mobile_vla.analysis.pairs.comparison import Comparison, compare_pair
from mobile_vla.analysis.pairs.decoding_difference import Difference
from mobile_vla.analysis.pairs.family import adjust
from mobile_vla.analysis.pairs.layers import Layers, find_layers
from mobile_vla.analysis.pairs.matching import Matching, match_stores
from mobile_vla.analysis.pairs.paired_decoding import Scores, find_differences
from mobile_vla.analysis.pairs.recipes import compare_recipes, find_recipes
from mobile_vla.analysis.subject import Subject
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.contexts.reader import Store

PAIR_PERMUTATIONS = 199  # at most, of the measures' floors: each is a mean and a 95th percentile, no p-value

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of the stores. targets: declared beforehand, all of them primary; empty: chosen by the labels.
    declared: names of the stores between which one may be called better; empty: all. See `pairs/family.py`."""

    tap: str = "context"
    targets: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    rigour: Rigour


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairing:
    """Two stores beside each other. names: what they are called; layers: CKA of every tap of one with every tap of the
    other."""

    left: str
    right: str
    names: tuple[str, str]
    comparison: Comparison
    layers: Layers | None

    @property
    def title(self) -> str:
        return "-".join(self.names)

    def to_plain(self) -> dict[str, Any]:
        return {
            **self.comparison.to_plain(),
            "stores": [self.left, self.right],
            "layers": self.layers and self.layers.to_plain(),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipes:
    """Two recipes, each trained with several seeds. runs: names of their stores; decoding: by target, or why not."""

    runs: tuple[tuple[str, ...], tuple[str, ...]]
    decoding: Mapping[str, Difference]
    reasons: Mapping[str, str]

    def to_plain(self) -> dict[str, Any]:
        return {
            "runs": [list(names) for names in self.runs],
            "decoding_difference": {target: one.to_plain() for target, one in self.decoding.items()},
            "reasons": dict(self.reasons),
        }


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Study:
    asked: Asked
    accounts: Mapping[str, Account]
    pairings: tuple[Pairing, ...]
    untrained: Store | None = None
    recipes: tuple[Recipes, ...] = ()

    def __repr__(self) -> str:
        return "\n".join(f"{name}:\n{account.judgement!r}" for name, account in self.titled.items())

    @property
    def titled(self) -> dict[str, Account]:
        """By what each store is called."""
        return {one.subject.called: one for one in self.accounts.values()}

    @property
    def declared_names(self) -> list[str]:
        """What the declared stores are called; none where all are."""
        return [self.accounts[name].subject.called for name in self.asked.declared]

    def rank(self) -> list[Account]:
        """Most yeses first, then by what the contexts hold of the actions. An order is no test; pairs are."""

        def key(account: Account) -> tuple[float, float]:
            verdicts = account.judgement.verdicts
            held = verdicts["preserving"].statistic
            return (-sum(one.verdict == "yes" for one in verdicts.values()), -(held if held is not None else -9.0))

        return sorted(self.accounts.values(), key=key)

    def to_plain(self) -> dict[str, Any]:
        """The findings of compare.json."""
        accounts = self.accounts
        pairs = [pairing.to_plain() for pairing in self.pairings]
        return {
            "stores": {name: one.subject.to_plain(self.asked.tap) for name, one in accounts.items()},
            "verdicts": {name: one.judgement.to_plain() for name, one in accounts.items()},
            "targets": {name: one.list_targets() for name, one in accounts.items()},
            "comparison": pairs[0] if len(pairs) == 1 else None,
            "comparisons": pairs if len(pairs) > 1 else [],
            "recipes": [one.to_plain() for one in self.recipes],
            "description": {name: one.describe() for name, one in accounts.items()},
            "untrained": None if self.untrained is None else str(self.untrained.folder),
        }


def make_study(subjects: Sequence[Subject], asked: Asked, untrained: Store | None, progress: Progress) -> Study:
    """progress  is told (what, done, of how many)"""
    accounts = {}
    for subject in subjects:
        progress("stores", len(accounts), len(subjects))
        accounts[subject.name] = take_account(subject, asked.tap, asked.targets, asked.rigour, untrained)
    progress("stores", len(subjects), len(subjects))
    pairs = list(combinations(subjects, 2))
    matched: dict[tuple[str, str], _Matched] = {}
    scores: Scores = {}
    for left, right in pairs:
        progress("decoding differences", len(matched), len(pairs))
        matched[left.name, right.name] = _match(left, right, accounts[left.name], asked, scores)
    if pairs:
        progress("decoding differences", len(pairs), len(pairs))
    decoding = {pair: one.decoding for pair, one in matched.items()}
    recipes, single = _compare_recipes(subjects, decoding)
    decoding = adjust(single, asked.declared or None) | {
        pair: {target: one.explore() for target, one in found.items()}
        for pair, found in decoding.items()
        if pair not in single
    }
    pairings = []
    for left, right in pairs:
        progress("pairs", len(pairings), len(pairs))
        pair = left.name, right.name
        pairings.append(_compare(left, right, matched.pop(pair), decoding[pair], asked))
    if pairs:
        progress("pairs", len(pairs), len(pairs))
    return Study(asked=asked, accounts=accounts, pairings=tuple(pairings), untrained=untrained, recipes=recipes)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Matched:
    matching: Matching | str
    decoding: Mapping[str, Difference]
    undecoded: Mapping[str, str]


def _match(left: Subject, right: Subject, account: Account, asked: Asked, scores: Scores) -> _Matched:
    matching = match_stores(left.store, right.store, asked.tap, names=(left.called, right.called))
    if not isinstance(matching, Matching):
        return _Matched(matching=matching, decoding={}, undecoded={})
    decoding, undecoded = find_differences(matching, asked.tap, account.judgement.primary, asked.rigour, scores)
    return _Matched(matching=matching, decoding=decoding, undecoded=undecoded)


def _compare(
    left: Subject, right: Subject, found: _Matched, decoding: Mapping[str, Difference], asked: Asked
) -> Pairing:
    matching, names = found.matching, (left.called, right.called)
    comparison = compare_pair(
        left.store,
        right.store,
        asked.tap,
        decoding=decoding,
        undecoded=found.undecoded,
        permutations=min(asked.rigour.permutations, PAIR_PERMUTATIONS),
        seed=asked.rigour.seed,
        names=names,
        matching=matching,
    )
    layers = find_layers(matching.left, matching.right) if isinstance(matching, Matching) else None
    return Pairing(left=left.name, right=right.name, names=names, comparison=comparison, layers=layers)


Found = Mapping[tuple[str, str], Mapping[str, Difference]]


def _compare_recipes(subjects: Sequence[Subject], found: Found) -> tuple[tuple[Recipes, ...], Found]:
    """Where runs differ only in their seed, the question is about their recipes: those, adjusted among each other, and
    the pairs of single runs that are left to ask about."""
    groups = list(find_recipes({one.name: one.trained_with for one in subjects}).values())
    if len(groups) < 2:
        return (), found
    called = {one.name: one.called for one in subjects}
    together: dict[tuple[str, str], dict[str, Difference]] = {}
    reasons: dict[tuple[str, str], dict[str, str]] = {}
    runs = {}
    for left, right in combinations(groups, 2):
        names = tuple(" + ".join(called[name] for name in group) for group in (left, right))
        pairs = [[found.get((one, other)) or _turn(found[other, one]) for other in right] for one in left]
        key = (names[0], names[1])
        together[key], reasons[key], runs[key] = {}, {}, (tuple(left), tuple(right))
        for target in pairs[0][0]:
            if all(target in one for row in pairs for one in row):
                one = compare_recipes([[pair[target] for pair in row] for row in pairs], key)
                (reasons if isinstance(one, str) else together)[key][target] = one  # type: ignore[assignment]
    grouped = {name for group in groups for name in group}
    single = {pair: one for pair, one in found.items() if not set(pair) <= grouped}
    told = tuple(Recipes(runs=runs[key], decoding=one, reasons=reasons[key]) for key, one in adjust(together).items())
    return told, single


def _turn(found: Mapping[str, Difference]) -> dict[str, Difference]:
    return {target: one.turn() for target, one in found.items()}
