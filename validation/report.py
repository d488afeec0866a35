"""What the simulations found, as a page and a figure.

In: counts by case. Out: Markdown, with what it was made with on top; a PNG of the power curves, and their points.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mobile_vla.analysis.figures.power import AXES, Point, Power, draw_power
from mobile_vla.core.durable import write_text
from validation.case import Case
from validation.detectable import list_detectable
from validation.rates import Rate
from validation.results import Found, Results, describe_versions
from validation.unknown import NOT_KNOWN

FIGURE = "validation.png"
Rows = Sequence[tuple[Case, Found]]
STATUSES = ("kept", "not refuted", "broken")


def write(found: Rows, results: Results, out: Path, command: str) -> None:
    """`validation.md` and the figure in the folder `out`."""
    write_text(out / "validation.md", make_page(found, results.strengths, command, results.seconds))
    draw_power(find_power(found)).figure.savefig(out / FIGURE, dpi=110, metadata={"Software": None})


def make_page(found: Rows, strengths: Mapping[str, float], command: str, seconds: float) -> str:
    """The page; what does not keep its bound is in bold."""
    counted = Counter(rate.status for case, one in found for rate in case.rates(one.counts) if rate.bound)
    stores = sum(one.stores for _, one in found)
    margins = ", ".join(f"{name} episodes: {strength:.2f}" for name, strength in sorted(strengths.items()))
    versions = ", ".join(f"{name} {version}" for name, version in describe_versions().items())
    lines = [
        "# How often the verdicts are right",
        "",
        f"Simulated on {stores:,} stores of contexts whose answers are known, judged from its rows to the verdict: "
        f"of {sum(counted.values())} bounds, {', '.join(f'{counted[status]} {status}' for status in STATUSES)}.",
        "",
        f"`{command}`: {seconds / 3600:.1f} hours of processor time; {versions}.",
        "",
        "Two generators that share no code: the first (`mobile_vla/analysis/planted/`, groups without a prefix) has "
        "the same number of rows in every episode; the second (`validation/second/`) has a power-law spectrum, "
        "episodes of 12 to 60 frames, names like those of a laboratory, and its stores go through the importer.",
        "",
        "Shares of stores in percent, with their 95 % Wilson intervals. A bound is *kept* only if the far end of the "
        "interval keeps it, *broken* if not even the near end does, and *not refuted* where there are too few stores "
        "to say. A test whose true size is 5 % has to keep at most 8 %, a yes where nothing is planted 4 of 200.",
        "",
        f"Strengths at which the mean of the statistic is the margin, by simulation: {margins or 'none'}. *Exactly at "
        "the spike*: two standard deviations of the contexts (of their episode means) along the planted axis.",
        "",
        *_list_broken(found),
        f"![Power]({FIGURE})",
    ]
    for group in dict.fromkeys(case.group for case, _ in found):
        lines += ["", f"## {group[0].upper()}{group[1:]}", "", *_table([row for row in found if row[0].group == group])]
    lines += list_detectable(found)
    return "\n".join([*lines, "", "## What is not known", "", *(f"- {line}" for line in NOT_KNOWN)]) + "\n"


def _list_broken(found: Rows) -> list[str]:
    told = [
        f"- {case.key}: {rate.what} in {format_rate(rate)} %, expected {rate.bound}"
        for case, one in found
        for rate in case.rates(one.counts)
        if rate.status == "broken"
    ]
    return ["**Broken:**", "", *told, ""] if told else []


def _table(found: Rows) -> list[str]:
    """Of the cases of one group."""
    answers = found[0][0].answers
    lines = [
        f"| stores | n | {' | '.join([*answers, 'bounds'])} |",
        f"|---|---|{'---|' * len(answers)}---|",
    ]
    for case, one in found:
        rates = case.rates(one.counts)
        by_name = {rate.what: rate for rate in rates}
        cells = [format_rate(by_name[answer]) if answer in by_name else "" for answer in answers]
        told = [_tell(rate, answers) for rate in rates if rate.bound or rate.what not in answers]
        lines.append(f"| {' | '.join([case.name, str(one.stores), *cells, '; '.join(told)])} |")
    return lines


def format_rate(rate: Rate) -> str:
    low, high = rate.interval
    return f"{100 * rate.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _tell(rate: Rate, answers: Sequence[str]) -> str:
    seen = "" if rate.what in answers else f" {format_rate(rate)}"
    if rate.bound is None:
        return f"{rate.what}{seen}"
    told = f"{rate.what}{seen} {rate.bound}: {rate.status}"
    return f"**{told}**" if rate.status == "broken" else told


def find_power(found: Rows) -> Power:
    """The points of the first generator's power curves: share of yes, with its interval."""
    curves: dict[str, dict[int, list[Point]]] = {}
    for case, one in found:
        if case.group in AXES and case.strength is not None and case.episodes is not None:
            rate = case.rates(one.counts)[0]
            point = Point(case.strength, rate.value, *rate.interval)
            curves.setdefault(case.group, {}).setdefault(case.episodes, []).append(point)
    return {verdict: {episodes: sorted(points) for episodes, points in of.items()} for verdict, of in curves.items()}


def save_power(found: Rows, file: Path) -> None:
    """A line for each curve."""
    curves = [
        f'"{verdict}": {{\n'
        + ",\n".join(
            f' "{episodes}": {json.dumps([[round(value, 4) for value in point] for point in points])}'
            for episodes, points in sorted(of.items())
        )
        + "\n}"
        for verdict, of in find_power(found).items()
    ]
    write_text(file, f"{{{', '.join(curves)}}}\n")
