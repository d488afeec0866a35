"""How hard a verdict is tested: permutations for a yes, planted codes for a no, deals of folds for the estimate."""

from dataclasses import dataclass

SPIKE_SD = 2.0  # of a planted code: standard deviations of the contexts along the direction


@dataclass(frozen=True, kw_only=True)
class Rigour:
    """How many permutations, spikes and deals of the folds; tests take fewer than reports.

    deals  of five folds that a statistic is the mean of: with a single one, another seed changes every fifth verdict
    """

    permutations: int = 999
    spikes: int = 99
    seed: int = 0
    deals: int = 20

    def __post_init__(self):
        assert self.permutations >= 19, "too few to reach p = .05"
        assert self.spikes >= 60, "too few to reach p = .05 in spite of two that score low by chance"
        assert self.deals >= 1
