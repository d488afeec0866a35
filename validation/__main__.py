"""`python -m validation`: simulates how often the verdicts are right; writes `docs/validation.md` and its figure."""

import argparse
import multiprocessing
import os
import shlex
import sys
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before numpy: one thread a process

from mobile_vla.core.errors import UserError  # noqa: E402
from validation.report import format_rate, save_power, write  # noqa: E402
from validation.results import Results  # noqa: E402
from validation.simulation import Amount, list_cases, simulate  # noqa: E402

RESULTS = Path("runs/validation")
PAGE_EVERY = 10  # cases


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m validation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every case with few stores, into runs/validation/quick")
    parser.add_argument("--only", metavar="GROUP", help="cases whose group or name holds this, for example 'copies'")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes (%(default)s)")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="keep the cases that are done")
    parser.add_argument("--page", action="store_true", help="only write the page again, from the cases that are done")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="times as many stores (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the page (docs)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="one line a case (in runs/validation)")
    parser.add_argument("--power", type=Path, metavar="FILE", help="also write what the report's power figure shows")
    parser.add_argument("--list", action="store_true", help="only list the cases, and how many stores each takes")
    return parser


def main() -> int:
    asked = make_parser().parse_args()
    amount = Amount(scale=asked.scale, quick=asked.quick)
    cases = list_cases(asked.only)
    if not cases:
        print(f"--only {asked.only}: no group or case is called so; see --list", file=sys.stderr)
        return 2
    if asked.list:
        for case in cases:
            print(f"{case.count(amount.scale, amount.quick):6d}  {case.key}")
        hours = sum(case.count(amount.scale, amount.quick) * case.seconds for case in cases) / 3600
        print(f"{len(cases)} cases, about {hours:.1f} hours of processor time")
        return 0
    whole = asked.only is None and not asked.quick
    out = asked.out or (Path("docs") if whole else RESULTS / ("quick" if asked.quick else "part"))
    file = asked.results or RESULTS / ("results.jsonl" if whole else "quick.jsonl" if asked.quick else "part.jsonl")
    try:
        results = Results(file, keep=asked.go_on or asked.page)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    command = shlex.join(["python", "-m", "validation", *sys.argv[1:]])
    out.mkdir(parents=True, exist_ok=True)
    found = []
    if asked.page:
        found = [(case, results.cases[case.key]) for case in cases if case.key in results.cases]
        write(found, results, out, command)
    else:
        begun = time.monotonic()
        with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
            for case, one in simulate(cases, pool, results, amount):
                found.append((case, one))
                if len(found) % PAGE_EVERY == 0 or len(found) == len(cases):
                    write(found, results, out, command)
                print(
                    f"{(time.monotonic() - begun) / 60:5.1f} min  {len(found)}/{len(cases)}  {_say(case, one)}",
                    flush=True,
                )
    if asked.power is not None:
        save_power(found, asked.power)
    print(out / "validation.md")
    broken = [rate for case, one in found for rate in case.rates(one.counts) if rate.status == "broken"]
    return 1 if broken else 0


def _say(case, one) -> str:
    rates = case.rates(one.counts)
    shares = ", ".join(f"{rate.what} {format_rate(rate)}" for rate in rates if rate.count or rate.bound)
    broken = "   BROKEN" if any(rate.status == "broken" for rate in rates) else ""
    return f"{case.key} ({one.stores} stores, {one.seconds / one.stores:.2f} s each): {shares}{broken}"


if __name__ == "__main__":
    sys.exit(main())
