"""`mobile-vla board`: TensorBoard over the runs, each under a short name, laid out for comparing.

In: the settings of `conf/board.yaml`. Out: a folder of links that TensorBoard shows, and `board.json`; nothing is
written into a run. It runs until a signal ends it: the table, the address and the folder are printed before.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.core.errors import Interrupted, UserError
from mobile_vla.jobs.command import Command, Context, Job, Report
from mobile_vla.runs.listing import Sort, list_runs

if TYPE_CHECKING:
    from mobile_vla.runs.summary import RunSummary

EVENTS, LOG = "events.out.tfevents.*", "tensorboard.log"


@dataclass(frozen=True, kw_only=True)
class BoardConfig:
    """As `conf/board.yaml` describes it."""

    runs: str | tuple[str, ...] = "runs"
    sort: Sort = "time"
    probes: bool = False
    host: str = "localhost"
    port: int = 6006
    start: bool = True

    def __post_init__(self):
        if not 0 <= self.port <= 65535:
            raise UserError(f"expected 0 (any that is free) to 65535, got {self.port}", argument="port")


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Find the runs, and a port; the job lays out and shows."""
    from mobile_vla.cli.tables.short_names import shorten
    from mobile_vla.cli.terminal.serving import find_port, write_address, write_command
    from mobile_vla.settings.typed import build

    settings = build(BoardConfig, config)
    found = list_runs(settings.runs, settings.sort)
    shown = {name: run for name, run in found.runs.items() if _has_events(run)}
    if not shown:
        raise UserError(
            f"no run in {found.base} holds TensorBoard events: they were trained without (logger.tensorboard)"
        )
    short = shorten(list(shown))
    links = {short[name]: run for name, run in shown.items()}
    left = [name for name in found.runs if name not in shown]
    port = find_port(settings.host, settings.port) if settings.start else settings.port

    def run(out: Path) -> Report:
        from mobile_vla.cli.tables.runs import table_of_runs
        from mobile_vla.cli.terminal.serving import serve
        from mobile_vla.core.plural import plural
        from mobile_vla.display.run_board import lay_out
        from mobile_vla.jobs.results import print_table, write_report

        folders = {name: one.folder for name, one in links.items()}
        if settings.probes:
            folders |= _name_probes(links)
        lay_out(out, folders, [one.settings for one in links.values()])
        command = write_command(out, settings.host, port)
        address = write_address(settings.host, port) if settings.start else None
        table = table_of_runs(links)
        payload = {
            "links": folders,
            "left": {name: found.runs[name].folder for name in left},
            "host": settings.host,
            "port": port,
            "address": address,
            "command": command,
            "runs": [{"name": name, **one.to_plain()} for name, one in links.items()],
            "settings": config,
        }
        report = Report(payload=payload, table=table.rows, columns=table.columns)
        print("\n".join([f"{plural(len(links), 'run')} in {found.base}", *table.lines]))
        if left:
            print(f"not shown, without TensorBoard events: {', '.join(left)}")
        if not settings.start:
            print(f"to show them: {shlex.join(command)}\n")
            return report
        write_report(report, out / "board.json")  # now: the job ends with a signal
        print()
        print_table(report)

        def tell() -> None:
            print(f"TensorBoard: {address}   Custom Scalars: losses beside the baselines; HParams: what differs")
            print("Ctrl-C ends it")
            print(out, flush=True)

        try:
            serve(command, settings.host, port, out / LOG, tell)
        except Interrupted as stop:
            raise Interrupted(f"{stop}; again with: {shlex.join(command)}", stop.signum) from None
        return report

    return Job(run=run)


def _has_events(run: "RunSummary") -> bool:
    """One that is being trained will have some."""
    return run.state == "training" or any(run.folder.glob(EVENTS))


def _name_probes(runs: "Mapping[str, RunSummary]") -> dict[str, Path]:
    """`<run>_probe`, `<run>_probe_2`, …; distinct from all runs."""
    named: dict[str, Path] = {}
    for name, run in runs.items():
        number = 1
        for folder in run.probes:
            while (link := f"{name}_probe" + (f"_{number}" if number > 1 else "")) in {*runs, *named}:
                number += 1
            named[link] = folder
    return named


COMMAND = Command(
    name="board",
    summary="Starts TensorBoard over the runs below a folder, under short names, laid out for comparing.",
    examples=(
        "mobile-vla board",
        "mobile-vla board runs=runs/train/2026-01-31_09-00-00_sweep_seed-0-1-2 port=0",
        "mobile-vla board runs=[runs,/mnt/cluster/runs] probes=true start=false",
    ),
    prepare=prepare,
)
