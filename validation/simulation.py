"""Runs the stores of cases on several processes; the same outcomes whatever the number of processes."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool

from validation.calibration import FEWEST, STORES, make_calibrations, solve
from validation.case import Case
from validation.first.cases import make_cases as make_first
from validation.first.pairs import make_pair_cases
from validation.outcome import Outcome
from validation.results import NOTHING, Found, Results
from validation.second import chunk_cases, label_cases, model_cases, policy_cases


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How many stores: `scale` times as many as a full run, or as few as show that every case runs."""

    scale: float = 1.0
    quick: bool = False

    @property
    def calibrated(self) -> int:
        return FEWEST if self.quick else max(round(STORES * self.scale), FEWEST)


def list_cases(only: str | None = None) -> list[Case]:
    """only: part of the group's or the case's name."""
    second = [module.make_cases() for module in (label_cases, chunk_cases, policy_cases, model_cases)]
    cases = [*make_first(), *make_pair_cases(), *(case for some in second for case in some)]
    return [case for case in cases if only is None or only.lower() in case.key.lower()]


def simulate(cases: Sequence[Case], pool: Pool, results: Results, amount: Amount) -> Iterator[tuple[Case, Found]]:
    """Each case as it is done. What `results` holds counts; only the stores that are missing are simulated."""
    calibrations = make_calibrations()
    for case in cases:
        stores = case.count(amount.scale, amount.quick)
        known = results.cases.get(case.key, NOTHING)
        if known.stores >= stores:
            yield case, known
            continue
        if case.at_margin is not None and case.at_margin not in results.strengths:
            strength = solve(calibrations[case.at_margin], pool, amount.calibrated)
            results.add_strength(case.at_margin, strength)
        before = known if case.adds_up else NOTHING
        seeds = range(before.stores, stores)
        timed = pool.imap(_Timed(case.place(results.strengths)), seeds, chunksize=max(len(seeds) // 40, 1))
        outcomes, seconds = zip(*timed, strict=True)
        found = before + Found(stores=len(seeds), counts=case.summarize(outcomes), seconds=round(sum(seconds), 2))
        results.add_case(case.key, found)
        yield case, found


@dataclass(frozen=True)
class _Timed:
    """Outcome and processor time of one store."""

    simulate: Callable[[int], Outcome]

    def __call__(self, seed: int) -> tuple[Outcome, float]:
        begun = time.process_time()
        return self.simulate(seed), time.process_time() - begun
