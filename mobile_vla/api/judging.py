"""`judge` and `compare`: what stored contexts hold, and how stores differ. Needs no torch.

In: stores, or folders that hold one. Out: a `Judgement`, or a `Study` with the fields of `compare.json`.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from mobile_vla.analysis.inquiry import CompareConfig, Inquiry, check_rigour
from mobile_vla.analysis.places import find_subject
from mobile_vla.analysis.report.writing import write_report
from mobile_vla.analysis.study import Study
from mobile_vla.analysis.verdicts.judgement import Judgement
from mobile_vla.analysis.verdicts.judgement import judge as judge_store
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.contexts.reader import Store
from mobile_vla.jobs.command import Report
from mobile_vla.jobs.output import taken
from mobile_vla.jobs.progress import show_steps
from mobile_vla.jobs.results import write_report as write_json

Place = Store | Path | str
Names = str | Sequence[str]


def judge(
    store: Place,
    *,
    target: Names = (),
    tap: str = "context",
    untrained: Place | None = None,
    permutations: int = 999,
    spikes: int = 99,
    seed: int = 0,
) -> Judgement:
    """Are the contexts preserving, discriminative and actionable? Verdicts with their intervals and reasons.

    store         a store, or the folder of one, of a probe, or of a run (the store of its last epoch)
    target        the label that the second verdict is about, or several (adjusted by Holm); without it the labels of
                  the store decide
    untrained     a store of the same rows by the backbone before training, as a baseline
    permutations  for a yes, 19 or more;  spikes  planted codes for a no, 60 or more

    `UserError` for a tap or a label that the store does not have.
    """
    check_rigour(permutations, spikes)
    return judge_store(
        _open(store, "store"),
        tap,
        targets=_list(target),
        rigour=Rigour(permutations=permutations, spikes=spikes, seed=seed),
        untrained=None if untrained is None else _open(untrained, "untrained"),
    )


def compare(
    left: Place | None = None,
    right: Place | None = None,
    *,
    stores: Sequence[Place] = (),
    targets: Names = (),
    declared: Sequence[str] = (),
    tap: str = "context",
    untrained: Place | None = None,
    permutations: int = 999,
    spikes: int = 99,
    seed: int = 0,
    out: Path | str | None = None,
) -> Study:
    """How stores of the same episodes differ: two of them, or with `stores` any number, every pair of them.

    targets   labels to decode, declared before looking at any number; without them the labels of the stores decide
    declared  of several stores the names of those between which one may be called better; without it all
    out       a new or empty folder for `report.html`, its figures and `compare.json`; without it nothing is written

    `to_plain()` of the result has the fields of `compare.json`. `UserError` where a store is missing, or none of the
    others has the same episodes.
    """
    settings = CompareConfig(
        left=_name(left),
        right=_name(right),
        stores=tuple(str(_name(store)) for store in stores),
        tap=tap,
        targets=_list(targets),
        declared=tuple(declared),
        untrained=_name(untrained),
        permutations=permutations,
        spikes=spikes,
        seed=seed,
    )
    inquiry = Inquiry.open(settings)
    begun = time.perf_counter()
    with nullcontext() if out is None else taken(out) as folder, show_steps() as progress:
        study = inquiry.study(progress)
        if folder is not None:
            payload = write_report(study, settings.to_plain(), begun, folder)
            write_json(Report(payload=payload), folder / "compare.json")
    return study


def _open(place: Place, argument: str) -> Store:
    return place if isinstance(place, Store) else find_subject(str(place), argument).store


def _name(place: Place | None) -> str | None:
    return None if place is None else str(place.folder if isinstance(place, Store) else place)


def _list(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
