"""`mobile-vla compare`: is the context of a store clear, and how do several differ?

In: the settings of `conf/compare.yaml`. Out: `report.html`, its figures, `compare.json`, TensorBoard events. Needs no
torch: a laptop with the stores is enough.
"""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Command, Context, Job, Report

if TYPE_CHECKING:
    from mobile_vla.analysis.report.page import Picture, Took
    from mobile_vla.analysis.study import Asked, Progress, Study
    from mobile_vla.analysis.subject import Subject
    from mobile_vla.contexts.reader import Store

LEAST_PERMUTATIONS, LEAST_SPIKES = 19, 60  # below, p = .05 is out of reach
LIBRARIES = ("numpy", "scipy", "scikit-learn", "matplotlib")


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """As `conf/compare.yaml` describes it."""

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
            raise ValueError("stores=[...] names all of them: give it, or left= and right=, not both")
        if self.right and not self.left:
            raise ValueError("right= alone: give left= as well")
        if not self.stores and not self.left:
            raise ValueError("missing setting 'left': give left=<store, probe or run> (and right=), or stores=[...]")
        if len(self.declared) == 1:
            raise ValueError(f"declared: expected two stores or more, or none for all, got {self.declared[0]} alone")
        for name, least in (("permutations", LEAST_PERMUTATIONS), ("spikes", LEAST_SPIKES)):
            number = getattr(self, name)
            if number < least:
                raise ValueError(f"{name}: expected {least} or more, or p = .05 is out of reach, got {number}")
        if self.seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {self.seed}")

    def to_plain(self) -> dict[str, Any]:
        """As the command line composes them."""
        plain = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Inquiry:
    """Stores that were found and fit together, and what is asked of them."""

    subjects: "list[Subject]"
    asked: "Asked"
    untrained: "Store | None"

    @classmethod
    def open(cls, settings: CompareConfig) -> "Inquiry":
        """`UserError` where a store is missing, or what is asked is none of it."""
        from mobile_vla.analysis.sample import take_sample
        from mobile_vla.analysis.study import Asked
        from mobile_vla.analysis.verdicts.discriminative.targets import declare_targets
        from mobile_vla.analysis.verdicts.rigour import Rigour
        from mobile_vla.cli.subjects import find_subject, refuse_strangers

        subjects, tap = _find_subjects(settings), settings.tap
        refuse_strangers(subjects, tap)
        untrained = None if settings.untrained is None else find_subject(settings.untrained, "untrained").store
        if untrained is not None and tap not in untrained.taps:
            raise UserError(f"untrained={settings.untrained}: no tap {tap}; there are {', '.join(untrained.taps)}")
        if settings.targets:
            for subject in subjects:
                declare_targets(take_sample(subject.store, tap), settings.targets)
        rigour = Rigour(permutations=settings.permutations, spikes=settings.spikes, seed=settings.seed)
        declared = _find_declared(settings.declared, subjects)
        asked = Asked(tap=tap, targets=settings.targets, declared=declared, rigour=rigour)
        return cls(subjects=subjects, asked=asked, untrained=untrained)

    def study(self, progress: "Progress") -> "Study":
        from mobile_vla.analysis.study import make_study

        return make_study(self.subjects, self.asked, self.untrained, progress)


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open the stores and find what is asked of them; the job computes."""
    from mobile_vla.settings.typed import build

    inquiry = Inquiry.open(build(CompareConfig, config))

    def run(out: Path) -> Report:
        from mobile_vla.cli.tables.compare import COLUMNS, rows_of_study
        from mobile_vla.jobs.progress import show_steps

        begun = time.perf_counter()

        with show_steps(enabled=context.rank == 0) as progress:
            study = inquiry.study(progress)
        took = write_report(study, config, begun, out)
        payload = {**study.to_plain(), "seconds": took.seconds, "peak_bytes": took.peak_bytes, "settings": config}
        return Report(payload=payload, table=rows_of_study(study), columns=COLUMNS)

    return Job(run=run)


def write_report(study: "Study", settings: Mapping[str, Any], begun: float, out: Path) -> "Took":
    """The page, its figures and TensorBoard's events into `out`. begun: when the work did, by `time.perf_counter`."""
    from mobile_vla.analysis.report.page import save_figures, write_page

    pictures = save_figures(study, out)
    took = _measure(time.perf_counter() - begun, settings)
    write_page(study, pictures, took, out)
    _write_events(study, pictures, out)
    return took


def _find_subjects(settings: CompareConfig) -> "list[Subject]":
    from mobile_vla.cli.compare_subjects import find_recipe, title_subjects
    from mobile_vla.cli.subjects import find_subject, name_subjects

    if settings.stores:
        subjects = name_subjects([find_subject(text, "stores") for text in settings.stores])
    else:
        given = {"left": settings.left, "right": settings.right}
        found = [(word, find_subject(text, word)) for word, text in given.items() if text is not None]
        subjects = [replace(subject, name=word, title=subject.name) for word, subject in found]
    return [replace(subject, trained_with=find_recipe(subject)) for subject in title_subjects(subjects)]


def _find_declared(names: tuple[str, ...], subjects: "list[Subject]") -> tuple[str, ...]:
    """Keys of the subjects; `UserError` for a name that none of them has."""
    known = {subject.called: subject.name for subject in subjects} | {one.name: one.name for one in subjects}
    for name in names:
        if name not in known:
            called = ", ".join(subject.called for subject in subjects)
            raise UserError(f"declared: {name} is none of the stores that are compared; they are called {called}")
    return tuple(known[name] for name in names)


def _measure(seconds: float, config: Mapping[str, Any]) -> "Took":
    import platform
    from datetime import datetime
    from importlib.metadata import version

    import mobile_vla
    from mobile_vla.analysis.report.page import Took

    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Took(
        seconds=seconds,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        versions={
            "mobile_vla": mobile_vla.__version__,
            "Python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        settings=config,
        date=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )


def _write_events(study: "Study", pictures: "Mapping[str, Picture]", out: Path) -> None:
    from mobile_vla.analysis.events import Events
    from mobile_vla.analysis.figures.verdicts import list_claims

    with Events(out, time.time()) as events:
        for name, account in study.titled.items():
            for claim, verdict in list_claims(account.judgement).items():
                tag = f"compare/{claim.replace(': ', '_')}/{name}"
                if verdict.statistic is not None:
                    events.add_scalar(tag, verdict.statistic)
                events.add_text(tag, f"**{verdict.verdict}**: {verdict.why}")
            for key, value in account.judgement.description.scalars().items():
                events.add_scalar(f"contexts/{study.asked.tap}/{key}/{name}", float(value))
            for point in account.course.points if account.course else ():
                values = {"accuracy": point.accuracy, "r2": point.r2, "effective_rank": point.rank}
                for key, value in values.items():
                    if value is not None:
                        events.add_scalar(f"over_training/{key}/{name}", value, point.epoch)
        for pairing in study.pairings:
            for key, measure in pairing.comparison.measures.items():
                events.add_scalar(f"compare/{key}/{pairing.title}", measure.value)
        for name, picture in pictures.items():
            events.add_picture(name, picture.file.read_bytes(), picture.width, picture.height)


COMMAND = Command(
    name="compare",
    summary="Says whether stored contexts are preserving, discriminative and actionable, and how several differ.",
    examples=(
        "mobile-vla compare left=runs/probe/2026-02-01_10-00-00_demo",
        "mobile-vla compare left=runs/train/2026-01-31_09-00-00_demo",
        "mobile-vla compare left=runs/probe/before right=runs/probe/after targets=[direction]",
        "mobile-vla compare stores=[stores/kosmos2,stores/robovlms,stores/ours] untrained=stores/untrained",
    ),
    prepare=prepare,
)
