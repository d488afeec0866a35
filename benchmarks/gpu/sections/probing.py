"""A probe with variants: contexts as recorded, and with other instructions and images, stored row by row."""

from collections.abc import Iterator

from benchmarks.gpu.bench import ALL, Bench
from benchmarks.gpu.findings import Note
from benchmarks.probe_cost import count_rows, make_subject, run_alone
from benchmarks.table import Line
from benchmarks.timing import Stopwatch
from mobile_vla.probing.context_probe import ContextProbe, ProbeConfig
from mobile_vla.probing.plans import PlanConfig

VARIANTS = ("swap", "paraphrase", "donor")
PLAN = PlanConfig(kind="all")


def run(bench: Bench) -> Iterator[Line | Note]:
    setting = bench.setting(ALL)
    subject = make_subject(setting, bench.device.name)
    for variants in ((), VARIANTS):
        prepared = ContextProbe.prepare(ProbeConfig(plan=PLAN, variants=variants), subject, bench.folder)
        watch = Stopwatch(bench.device.clocks)
        prepared.run(bench.folder / f"probe-{len(variants)}")
        seconds, rows = watch.stop().wall, len(prepared.rows)
        what = f"with {', '.join(variants)}" if variants else "as recorded"
        yield Line.number(f"{what}: rows", rows, "rows")
        yield Line.number(f"{what}: stored", rows / seconds, "rows/s")
    run_alone(setting, PLAN)
    watch = Stopwatch(bench.device.clocks)
    run_alone(setting, PLAN)
    alone = watch.stop().wall
    yield Line.number("as recorded, nothing stored", count_rows(setting, PLAN) / alone, "rows/s")
