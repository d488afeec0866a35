"""`mobile-vla compare`: is the context of a store clear, and how do several differ?

In: the settings of `conf/compare.yaml`. Out: `report.html`, its figures, `compare.json`, TensorBoard events. Needs no
torch: a laptop with the stores is enough.
"""

import time
from pathlib import Path
from typing import Any

from mobile_vla.jobs.command import Command, Context, Job, Report


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open the stores and find what is asked of them; the job computes."""
    from mobile_vla.analysis.inquiry import CompareConfig, Inquiry
    from mobile_vla.settings.typed import build

    inquiry = Inquiry.open(build(CompareConfig, config))

    def run(out: Path) -> Report:
        from mobile_vla.analysis.report.writing import write_report
        from mobile_vla.cli.tables.compare import COLUMNS, rows_of_study
        from mobile_vla.jobs.progress import show_steps

        begun = time.perf_counter()
        with show_steps(enabled=context.rank == 0) as progress:
            study = inquiry.study(progress)
        return Report(payload=write_report(study, config, begun, out), table=rows_of_study(study), columns=COLUMNS)

    return Job(run=run)


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
