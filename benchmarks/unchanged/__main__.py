"""`python -m benchmarks.unchanged`: the same commands on an earlier commit's code and on the code at hand.

Out: a table, and exit code 1 where more differs than `quantities.py` allows; every difference in `unchanged.json`. The
code at hand also opens what the earlier code left: it evaluates, probes and continues its run, acts with its run and
its export, and compares a store of its with one of today.

In: `--out` keeps everything, and the earlier code's results are used again from there. Without it all lies in a
temporary folder that is removed.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.earlier import CHECKOUT, check_out
from benchmarks.unchanged.commands import REMADE, Code, describe, run_all, run_crossed
from benchmarks.unchanged.comparing import Line, compare, format_table
from benchmarks.unchanged.quantities import QUANTITIES
from benchmarks.unchanged.reading import read_folder

BEFORE = "ef5542d"  # before the package was rebuilt
RESUMED = "said.json:resume.exit"
SHOWN = 8  # differences of a quantity on the terminal


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unchanged", description=__doc__)
    parser.add_argument("--before", default=BEFORE, help=f"the earlier commit ({BEFORE})")
    parser.add_argument("--out", type=Path, help="a folder that keeps everything")
    names = [one.name for one in QUANTITIES]
    accept = "quantities that differ on purpose: their differences are shown and are no failure"
    parser.add_argument("--accept", nargs="+", default=[], choices=names, metavar="QUANTITY", help=accept)
    asked = parser.parse_args(arguments)
    words = ["git", "-C", str(CHECKOUT), "rev-parse", "--verify", "--quiet", f"{asked.before}^{{commit}}"]
    commit = subprocess.run(words, capture_output=True, text=True).stdout.strip()
    if not commit:
        parser.error(f"--before {asked.before}: expected a commit of this repository")
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        return _run(asked.out.resolve(), commit, asked.accept)
    with tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder).resolve(), commit, asked.accept)


def _run(out: Path, commit: str, accepted: Sequence[str]) -> int:
    before, work, crossed = out / "before", out / "work", out / "crossed"
    for folder in (work, crossed, out / "now"):
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("mobile_vla", "conf"):  # a copy: nothing is written into the checkout, nor edited while this runs
        shutil.copytree(CHECKOUT / name, out / "now" / name, ignore=shutil.ignore_patterns("__pycache__"))
    now = Code(out / "now")
    _prepare_before(out, commit, before)
    print("what it left, under the code at hand", flush=True)
    shutil.copytree(before, work)
    run_crossed(now, work)
    work.rename(crossed)
    print("the code at hand", flush=True)
    run_all(now, work)

    paths = (before, work, crossed)
    earlier = read_folder(before, paths)
    found = {
        "the same commands": compare(earlier, read_folder(work, paths), accepted),
        "what the earlier code left, under the code at hand": compare_crossed(
            earlier, read_folder(crossed, paths), accepted
        ),
    }
    for title, lines in found.items():
        print(f"\n{title}\n\n{format_table(lines)}")
        for line in lines:
            _show_wrong(line)
    content = {
        title: {line.quantity.name: line.wrong for line in lines if line.wrong} for title, lines in found.items()
    }
    (out / "unchanged.json").write_text(json.dumps(content, indent=1, ensure_ascii=False))
    broken = [line.quantity.name for lines in found.values() for line in lines if line.outcome == "BROKEN"]
    print(f"\n{'BROKEN: ' + ', '.join(dict.fromkeys(broken)) if broken else 'nothing changed'}")
    return 1 if broken else 0


def _prepare_before(out: Path, commit: str, before: Path) -> None:
    """The earlier code's results, in `before`; made in `work`, and only where they are not there yet."""
    mark, made_with = out / "before.json", {"commit": commit, **describe()}
    if mark.is_file() and json.loads(mark.read_text()) == made_with:
        print(f"{commit}: its results are there")
        return
    mark.unlink(missing_ok=True)
    for folder in (before, out / "earlier"):
        shutil.rmtree(folder, ignore_errors=True)
    print(commit, flush=True)
    failed = run_all(Code(check_out(commit, out / "earlier")), out / "work")
    if failed:
        raise SystemExit(f"--before {commit}: these commands fail there: {', '.join(failed)}")
    (out / "work").rename(before)
    mark.write_text(json.dumps(made_with))


def compare_crossed(earlier: Mapping[str, Any], crossed: Mapping[str, Any], accepted: Sequence[str]) -> list[Line]:
    """Against what the earlier code made of the same; a run that cannot be continued says so in one line."""
    exits = {name: value for name, value in crossed.items() if re.fullmatch(r"said\.json:.*\.exit", name)}
    expected = dict.fromkeys(exits, 0)
    folders = set(REMADE)
    if exits.get(RESUMED) == 2 and crossed.get("said.json:resume.stderr.length") == 1:
        expected[RESUMED] = 2
        folders.remove("run")

    def remade(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name.split("/")[0] in folders}

    return compare(remade(earlier) | expected, remade(crossed) | exits, accepted)


def _show_wrong(line: Line) -> None:
    if line.outcome == "ok":
        return
    print(f"\n{line.quantity.name}: {len(line.wrong)} differ")
    for text in sorted(line.wrong)[:SHOWN]:
        print(f"  {text}")


if __name__ == "__main__":
    sys.exit(main())
