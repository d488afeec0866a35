"""What `compare` found, as rows for people: verdict, statistic, interval, number of cases.

In: a `Study`. Out: rows, and their headings.
"""

from collections.abc import Mapping

from mobile_vla.analysis.figures.verdicts import list_claims
from mobile_vla.analysis.pairs.decoding_difference import Difference
from mobile_vla.analysis.report.words import MEASURE_TITLES, is_short_of_episodes, write_interval, write_number
from mobile_vla.analysis.study import Study
from mobile_vla.analysis.verdicts.verdict import Verdict

COLUMNS = ("", "verdict", "value [90 %]", "n")

Row = tuple[str, ...]


def rows_of_study(study: Study) -> list[Row]:
    accounts = study.rank() if len(study.accounts) > 2 else study.accounts.values()
    rows = []
    for account in accounts:
        rows.append((account.subject.called, "", "", ""))
        for claim, verdict in list_claims(account.judgement).items():
            target = f", {verdict.target}" if claim == "discriminative" and verdict.target != "none" else ""
            told = _tell(verdict.statistic, verdict.ci)
            rows.append((f"  {claim}{target}", verdict.verdict, told, _count(verdict)))
    for pairing in study.pairings:
        found = pairing.comparison
        rows.append((" and ".join(pairing.names), "", found.answer, ""))
        for measure, title in MEASURE_TITLES.items():
            if measure in found.measures:
                one = found.measures[measure]
                rows.append((f"  {title}", "", _tell(one.value, one.ci), str(one.estimate.n)))
        rows += _rows_of_differences(pairing.names, found.decoding)
    for recipes in study.recipes:
        first = next(iter(recipes.decoding.values()), None)
        if first is not None:
            rows.append((" and ".join(first.names), "", "recipes, over their seeds", ""))
            rows += _rows_of_differences(first.names, recipes.decoding)
    return rows


def _rows_of_differences(names: tuple[str, str], decoding: Mapping[str, Difference]) -> list[Row]:
    return [
        (
            f"  {target}, difference ({' - '.join(names)})",
            difference.words,
            _tell(difference.value, difference.ci),
            str(difference.n),
        )
        for target, difference in decoding.items()
    ]


def _tell(value: float | None, ci: tuple[float, float] | None) -> str:
    return "–" if value is None else f"{write_number(value)} {write_interval(ci)}"


def _count(verdict: Verdict) -> str:
    if is_short_of_episodes(verdict):
        return f"{verdict.n}, ≈ {verdict.n_needed} needed"
    return f"{verdict.n} {verdict.unit}"
