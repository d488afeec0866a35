"""`mobile-vla runs`: the runs as a table: how far each came, what it is worth, and beside what.

In: the settings of `conf/runs.yaml`. Out: `runs.json`, a row a run in full. Reads no checkpoint and needs no torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobile_vla.jobs.command import Command, Context, Job, Report
from mobile_vla.runs.listing import Sort, list_runs


@dataclass(frozen=True, kw_only=True)
class RunsConfig:
    """As `conf/runs.yaml` describes it."""

    runs: str | tuple[str, ...] = "runs"
    sort: Sort = "time"


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Find and read the runs; the job writes what they say."""
    from mobile_vla.settings.typed import build

    settings = build(RunsConfig, config)
    found = list_runs(settings.runs, settings.sort)

    def run(out: Path) -> Report:
        from mobile_vla.cli.tables.runs import table_of_runs
        from mobile_vla.core.plural import plural

        table = table_of_runs(found.runs)
        print("\n".join([f"{plural(len(found.runs), 'run')} in {found.base}", *table.lines, ""]))
        payload = {
            "base": found.base,
            "runs": [{"name": name, **one.to_plain()} for name, one in found.runs.items()],
            "settings": config,
        }
        return Report(payload=payload, table=table.rows, columns=table.columns)

    return Job(run=run)


COMMAND = Command(
    name="runs",
    summary="Lists the runs below a folder: state, loss beside the baselines, effects, stores, evaluations.",
    examples=(
        "mobile-vla runs",
        "mobile-vla runs runs=runs/train/2026-01-31_09-00-00_sweep_seed-0-1-2 sort=val_loss",
        "mobile-vla runs runs=[runs,/mnt/cluster/runs] out=overview",
    ),
    prepare=prepare,
)
