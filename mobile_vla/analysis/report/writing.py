"""What a comparison leaves in its folder: the page with its figures, and TensorBoard's events.

In: a `Study`, the settings that it was made with, when the work began. Out: the files; and what the work took.
"""

import platform
import resource
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mobile_vla
from mobile_vla.analysis.events import Events
from mobile_vla.analysis.figures.verdicts import list_claims
from mobile_vla.analysis.report.page import Picture, Took, save_figures, write_page
from mobile_vla.analysis.study import Study

LIBRARIES = ("numpy", "scipy", "scikit-learn", "matplotlib")


def write_report(study: Study, settings: Mapping[str, Any], begun: float, out: Path) -> dict[str, Any]:
    """Into `out`, which exists; returns the fields of `compare.json`. begun: when, by `time.perf_counter`."""
    pictures = save_figures(study, out)
    took = _measure(time.perf_counter() - begun, settings)
    write_page(study, pictures, took, out)
    write_events(study, pictures, out)
    return {**study.to_plain(), "seconds": took.seconds, "peak_bytes": took.peak_bytes, "settings": dict(settings)}


def _measure(seconds: float, settings: Mapping[str, Any]) -> Took:
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Took(
        seconds=seconds,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        versions={
            "mobile_vla": mobile_vla.__version__,
            "Python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        settings=settings,
        date=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )


def write_events(study: Study, pictures: Mapping[str, Picture], out: Path) -> None:
    """Verdicts, descriptions and pairs as TensorBoard shows them."""
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
