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
from mobile_vla.analysis.pairs.layers import Layers, find_layers
from mobile_vla.analysis.pairs.matching import Matching, match_stores
from mobile_vla.analysis.pairs.paired_decoding import find_differences
from mobile_vla.analysis.subject import Subject
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.contexts.reader import Store

PAIR_PERMUTATIONS = 199  # at most, of the measures' floors: each is a mean and a 95th percentile, no p-value

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of the stores. targets: declared beforehand, all of them primary; empty: chosen by the labels."""

    tap: str = "context"
    targets: tuple[str, ...] = ()
    rigour: Rigour


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairing:
    """Two stores beside each other. layers: CKA of every tap of one with every tap of the other."""

    left: str
    right: str
    comparison: Comparison
    layers: Layers | None

    def to_plain(self) -> dict[str, Any]:
        return {
            **self.comparison.to_plain(),
            "stores": [self.left, self.right],
            "layers": self.layers and self.layers.to_plain(),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    asked: Asked
    accounts: Mapping[str, Account]
    pairings: tuple[Pairing, ...]
    untrained: Store | None = None

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
    pairs, pairings = list(combinations(subjects, 2)), []
    for left, right in pairs:
        progress("pairs", len(pairings), len(pairs))
        pairings.append(_compare(left, right, accounts[left.name], asked))
    if pairs:
        progress("pairs", len(pairs), len(pairs))
    return Study(asked=asked, accounts=accounts, pairings=tuple(pairings), untrained=untrained)


def _compare(left: Subject, right: Subject, account: Account, asked: Asked) -> Pairing:
    matching = match_stores(left.store, right.store, asked.tap)
    decoding, undecoded, layers = {}, {}, None
    if isinstance(matching, Matching):
        decoding, undecoded = find_differences(matching, asked.tap, account.judgement.primary, asked.rigour)
        layers = find_layers(matching.left, matching.right)
    comparison = compare_pair(
        left.store,
        right.store,
        asked.tap,
        decoding=decoding,
        undecoded=undecoded,
        permutations=min(asked.rigour.permutations, PAIR_PERMUTATIONS),
        seed=asked.rigour.seed,
    )
    return Pairing(left=left.name, right=right.name, comparison=comparison, layers=layers)
