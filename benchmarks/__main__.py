"""`python -m benchmarks [name ...]`: runs the benchmarks of these names, or all, and prints what they found."""

import argparse
from functools import partial
from pathlib import Path

from mobile_vla.jobs.quiet import quiet_libraries, quiet_loggers

quiet_libraries()

import torch  # noqa: E402  (the libraries read what keeps them quiet when they are imported)

from benchmarks import (  # noqa: E402
    cached_contexts,
    compare_size,
    compiled_step,
    growth,
    loading,
    probe_cost,
    sharing,
    start_up,
    steps,
    store_memory,
    tiny_step,
    under_load,
    variants,
)
from benchmarks.earlier import BASELINE  # noqa: E402
from benchmarks.table import Line, describe_machine, format_table, save  # noqa: E402

BENCHMARKS = {
    "steps": steps.run,
    "sharing": sharing.run,
    "loading": loading.run,
    "growth": growth.run,
    "cached_contexts": cached_contexts.run,
    "heads": cached_contexts.run_heads,
    "probe_cost_tiny": probe_cost.run_tiny,
    "probe_cost_middle": probe_cost.run_middle,
    "variants": variants.run,
    "store_memory": store_memory.run,
    "start_up": start_up.run,
    "compiled_step": compiled_step.run,
    "compare_size": compare_size.run,
    "tiny_step": tiny_step.run,
    "under_load": under_load.run,
}
LIMIT_S = 100.0  # of each; three rounds are run however long they take


def main() -> None:
    quiet_loggers()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; without any: all")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write everything as json")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="also draw what `growth` found")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help="seconds for each (%(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (%(default)s)")
    parser.add_argument(
        "--baseline",
        default=BASELINE,
        metavar="COMMIT",
        help="of tiny_step: what it compares with (%(default)s)",
    )
    asked = parser.parse_args()
    for name in asked.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark '{name}'; there are {', '.join(BENCHMARKS)}")
    benchmarks = {**BENCHMARKS, "tiny_step": partial(tiny_step.run, baseline=asked.baseline)}
    print(describe_machine(asked.threads))
    found: dict[str, list[Line]] = {}
    for name in asked.names or BENCHMARKS:
        found[name] = benchmarks[name](asked.limit, asked.threads)
        print(f"\n{name}\n\n{format_table(found[name])}", flush=True)
    if asked.out is not None:
        save(found, asked.threads, asked.out)
    if asked.figure is not None and "growth" in found:
        growth.draw(found["growth"], asked.figure)


if __name__ == "__main__":
    main()
