"""`python -m benchmarks.gpu`: measures what a GPU gives, and writes a page; `--small` tries all of it on a CPU."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobile_vla.jobs.quiet import quiet_libraries

quiet_libraries()

from benchmarks.device import has_gpu  # noqa: E402  (torch reads what keeps it quiet when it is imported)
from benchmarks.gpu.findings import Findings, append_end, append_piece  # noqa: E402
from benchmarks.gpu.page import write_page  # noqa: E402
from benchmarks.gpu.plan import SECTIONS  # noqa: E402
from benchmarks.gpu.running import Section, Worker, run_all  # noqa: E402
from mobile_vla.core.durable import write_text  # noqa: E402

MINUTES = 7.5
PATIENCE = 5  # times as long may each section take where it is tried out: a busy CPU is slow


def main(words: list[str] | None = None) -> int:
    """1 where a section failed, 2 where there is no GPU to measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), metavar="DIR", help="(%(default)s)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also write the page here")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all sections together (%(default)s)")
    parser.add_argument("--small", action="store_true", help="a tiny model, on the CPU: only tries the script out")
    parser.add_argument("names", nargs="*", metavar="section", help=f"of {', '.join(each.name for each in SECTIONS)}")
    asked = parser.parse_args(words)
    chosen = [section for section in SECTIONS if not asked.names or section.name in asked.names]
    for name in asked.names:
        if name not in {section.name for section in SECTIONS}:
            parser.error(f"there is no section '{name}'; there are {', '.join(each.name for each in SECTIONS)}")
    if not asked.small and not has_gpu():
        print(
            "benchmarks.gpu: no CUDA device is visible here (torch.cuda.is_available() is False); expected a CUDA "
            "build of torch and a working driver; to try the script out on a CPU: --small",
            file=sys.stderr,
        )
        return 2
    if asked.small:
        chosen = [replace(section, limit_s=PATIENCE * section.limit_s) for section in chosen]
    found = measure(chosen, asked)
    return int(any((each.ended or "").startswith("failed") for each in found))


def measure(chosen: Sequence[Section], asked: argparse.Namespace) -> list[Findings]:
    asked.out.mkdir(parents=True, exist_ok=True)
    file, size = asked.out / "found.jsonl", "small" if asked.small else "full"
    file.write_text("")
    found: list[Findings] = []

    def deliver(findings: Findings, piece: Any) -> None:
        if findings not in found:
            found.append(findings)
        if piece is None:
            append_end(file, findings)
            print(f"{findings.name}: {findings.ended}, {findings.seconds:.0f} s", flush=True)
        else:
            append_piece(file, findings.name, piece)
        page = write_page(chosen, found, size, f"python -m benchmarks.gpu --minutes {asked.minutes:g}")
        for place in (asked.out / "gpu.md", asked.page):
            if place is not None:
                write_text(place, page)

    with tempfile.TemporaryDirectory() as folder:
        worker = Worker("benchmarks.gpu.bench:make_bench", (size, Path(folder)), asked.out / "log.txt")
        return run_all(chosen, worker, 60 * asked.minutes, deliver)


if __name__ == "__main__":
    sys.exit(main())
