"""`python -m benchmarks.unchanged`: the same commands on an earlier commit's code and on the code at hand.

Out: a table, and exit code 1 where more differs than `quantities.py` allows; every difference in `unchanged.json`. The
code at hand also opens what the earlier code left: it evaluates, probes and continues its run, acts with its run and
its export, and compares a store of its with one of today.

In: `--out` keeps everything, and the earlier code's results are used again from there. Without it all lies in a
temporary folder that is removed.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.earlier import CHECKOUT, check_out
from benchmarks.unchanged import commands
from benchmarks.unchanged.commands import Code, run_all, run_crossed, run_mixed
from benchmarks.unchanged.comparing import Line, compare, format_table
from benchmarks.unchanged.quantities import QUANTITIES
from benchmarks.unchanged.reading import read_folder

BEFORE = "ef5542d"  # before the package was rebuilt
SHOWN = 8  # differences of a quantity on the terminal


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unchanged", description=__doc__)
    parser.add_argument("--before", default=BEFORE, help=f"the earlier commit ({BEFORE})")
    parser.add_argument("--out", type=Path, help="a folder that keeps everything")
    parser.add_argument(
        "--accept", nargs="+", default=[], choices=[one.name for one in QUANTITIES], help="may differ on purpose"
    )
    asked = parser.parse_args(arguments)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        return _run(asked.out.resolve(), asked.before, asked.accept)
    with tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder).resolve(), asked.before, asked.accept)


def _run(out: Path, commit: str, accepted: Sequence[str]) -> int:
    before, work, crossed = out / "before", out / "work", out / "crossed"
    for folder in (work, crossed):
        shutil.rmtree(folder, ignore_errors=True)
    now = Code(CHECKOUT, out)
    _prepare_before(out, commit, before)
    shutil.copytree(before, work)  # where it was made: paths in it lead there
    print("its results, the code at hand", flush=True)
    run_crossed(now, work, crossed)
    shutil.rmtree(work)
    print("the code at hand", flush=True)
    run_all(now, work)
    run_mixed(now, work, crossed)

    paths = (before, work, crossed)
    earlier = read_folder(before, paths)
    found = {
        "the same commands": compare(earlier, read_folder(work, paths), accepted),
        "what the earlier code left, read by the code at hand": compare_crossed(
            earlier, read_folder(crossed, paths), accepted
        ),
    }
    for title, lines in found.items():
        print(f"\n{title}\n\n{format_table(lines)}")
        for line in lines:
            _show_wrong(line)
    content = {title: {line.quantity.name: line.wrong for line in lines if line.wrong} for title, lines in found.items()}
    (out / "unchanged.json").write_text(json.dumps(content, indent=1, ensure_ascii=False))
    broken = [line.quantity.name for lines in found.values() for line in lines if line.outcome == "BROKEN"]
    print(f"\n{'BROKEN: ' + ', '.join(dict.fromkeys(broken)) if broken else 'nothing changed'}")
    return 1 if broken else 0


def _prepare_before(out: Path, commit: str, before: Path) -> None:
    """The earlier code's results, in `before`; made in `work`, and only where they are not there yet."""
    mark, made_with = out / "before.json", {"commit": commit, "commands": dict(commands.COMMANDS)}
    if mark.is_file() and json.loads(mark.read_text()) == made_with:
        print(f"{commit}: its results are there")
        return
    mark.unlink(missing_ok=True)
    for folder in (before, out / "code"):
        shutil.rmtree(folder, ignore_errors=True)
    print(commit, flush=True)
    run_all(Code(check_out(commit, out / "code"), out), out / "work")
    (out / "work").rename(before)
    mark.write_text(json.dumps(made_with))


def compare_crossed(earlier: Mapping[str, Any], crossed: Mapping[str, Any], accepted: Sequence[str]) -> list[Line]:
    """Against what the earlier code made of the same; a run that cannot be continued says so in one line."""
    said = {name: value for name, value in crossed.items() if name.startswith("said.json:")}
    refused = said.get("said.json:resume.exit") == 2 and said.get("said.json:resume.stderr.length") == 1
    folders = {name.split("/")[0] for name in crossed if "/" in name} - ({"run"} if refused else set())
    expected = {name: value for name, value in earlier.items() if name.split("/")[0] in folders}
    expected |= {name: 2 if refused and ".resume." in name else 0 for name in said if name.endswith(".exit")}
    found = {name: value for name, value in crossed.items() if name.split("/")[0] in folders}
    return compare(expected, found | {name: said[name] for name in said if name.endswith(".exit")}, accepted)


def _show_wrong(line: Line) -> None:
    if line.outcome == "ok":
        return
    print(f"\n{line.quantity.name}: {len(line.wrong)} differ")
    for text in sorted(line.wrong)[:SHOWN]:
        print(f"  {text}")


if __name__ == "__main__":
    sys.exit(main())
