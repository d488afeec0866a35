"""`judge` and `compare`: what stored contexts hold, and how two stores differ. Needs no torch.

In: stores, or folders that `mobile-vla compare` takes. Out: a `Judgement`, or a `Study` with the fields of
`compare.json`.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mobile_vla.analysis.study import Study
from mobile_vla.analysis.verdicts.judgement import Judgement
from mobile_vla.analysis.verdicts.judgement import judge as judge_store
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.cli.compare import CompareConfig, Inquiry, write_report
from mobile_vla.cli.subjects import find_subject
from mobile_vla.contexts.reader import Store
from mobile_vla.core.errors import UserError
from mobile_vla.jobs.output import take_out
from mobile_vla.jobs.progress import show_steps

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

    target        the label that the second verdict is about, or several (adjusted by Holm); without it the labels of
                  the store decide
    untrained     a store of the same rows by the backbone before training, as a baseline
    permutations  for a yes, 19 or more;  spikes  planted codes for a no, 60 or more

    `UserError` for a tap or a label that the store does not have.
    """
    if permutations < 19 or spikes < 60:
        raise UserError(f"permutations and spikes: expected 19 and 60 or more, got {permutations} and {spikes}")
    return judge_store(
        _open(store, "store"),
        tap,
        targets=_list(target),
        rigour=Rigour(permutations=permutations, spikes=spikes, seed=seed),
        untrained=None if untrained is None else _open(untrained, "untrained"),
    )


def compare(
    left: Place,
    right: Place,
    *,
    targets: Names = (),
    tap: str = "context",
    untrained: Place | None = None,
    permutations: int = 999,
    spikes: int = 99,
    seed: int = 0,
    out: Path | str | None = None,
) -> Study:
    """How two stores of the same episodes differ: what `mobile-vla compare left=… right=…` finds.

    `to_plain()` has the fields of `compare.json`. With `out`, a new or empty folder, the page and its figures are
    written there as well.
    """
    settings = CompareConfig(
        left=_name(left),
        right=_name(right),
        tap=tap,
        targets=_list(targets),
        untrained=None if untrained is None else _name(untrained),
        permutations=permutations,
        spikes=spikes,
        seed=seed,
    )
    inquiry = Inquiry.open(settings)
    begun = time.perf_counter()
    with _take(out) as folder:
        with show_steps() as progress:
            study = inquiry.study(progress)
        if folder is not None:
            write_report(study, settings.to_plain(), begun, folder)
    return study


@contextmanager
def _take(out: Path | str | None) -> Iterator[Path | None]:
    """The folder, which is this call's alone meanwhile; None where nothing is to be written."""
    if out is None:
        yield None
        return
    claim = take_out(Path(out).expanduser().absolute())
    try:
        yield claim.out
    finally:
        claim.release(remove_empty=True)


def _open(place: Place, argument: str) -> Store:
    return place if isinstance(place, Store) else find_subject(str(place), argument).store


def _name(place: Place) -> str:
    return str(place.folder if isinstance(place, Store) else place)


def _list(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
