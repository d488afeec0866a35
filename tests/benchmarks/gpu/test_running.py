"""A section that fails, dies or hangs is reported with what it had found, and costs no other section its turn."""

import time

from benchmarks.gpu.findings import DONE, Findings
from benchmarks.gpu.running import Section, Worker, run_all

HERE = "tests.benchmarks.gpu.sections"


def sections(*names, limit_s=60.0, least_s=0.0):
    return [Section(name=n, title=n, module=f"{HERE}.{n}", limit_s=limit_s, least_s=least_s) for n in names]


def run(folder, chosen, budget_s=60.0):
    """The findings, and what was delivered: (section, piece's text or how it ended)."""
    delivered = []

    def deliver(findings: Findings, piece):
        delivered.append((findings.name, findings.ended if piece is None else piece.text))

    worker = Worker(f"{HERE}.works:prepare", (folder,), folder / "log.txt")
    return run_all(chosen, worker, budget_s, deliver), delivered


def test_what_fails_or_dies_is_told_and_the_next_section_gets_a_fresh_process(tmp_path):
    names = ("works", "works", "raises", "works", "dies", "works")
    found, delivered = run(tmp_path, sections(*names))
    first, second, raised, third, died, fourth = found
    assert [each.name for each in found] == list(names)
    assert {each.ended for each in (first, second, third, fourth)} == {DONE}
    assert raised.ended == "failed: ValueError: a message of two lines"
    assert died.ended == "failed: its process died (SIGKILL)"
    assert [note.text for note in (*raised.notes, *died.notes)] == ["it failed", "it died"]
    processes = [each.notes[0].text for each in (first, second, third, fourth)]
    assert processes[0] == processes[1]
    assert len(set(processes)) == 3
    assert [each.notes[1].text for each in (first, second, third, fourth)] == ["x", "x", "xx", "xxx"]
    assert delivered[:3] == [("works", processes[0]), ("works", "x"), ("works", DONE)]
    assert "of two lines" in (tmp_path / "log.txt").read_text()  # the traceback


def test_what_hangs_is_ended_with_all_that_it_has_started(tmp_path):
    (hung,), _ = run(tmp_path, sections("hangs", limit_s=2.0))
    assert hung.ended == "failed: not done within 2 s"
    (child,) = hung.notes
    until = time.monotonic() + 5
    while is_running(int(child.text)):
        assert time.monotonic() < until, "its process goes on"
        time.sleep(0.05)


def test_a_section_for_which_no_time_is_left_is_skipped_and_says_so(tmp_path):
    chosen = [*sections("works", least_s=1000.0), *sections("works")]
    (skipped, ran), delivered = run(tmp_path, chosen, budget_s=60.0)
    assert skipped.ended == "skipped: 60 s of 60 s were left, and it needs 1000"
    assert ran.ended == DONE
    assert delivered[0] == ("works", skipped.ended)


def is_running(process: int) -> bool:
    """Not what has ended, and waits for its parent to notice."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_the_time_that_is_left_limits_a_section_too(tmp_path):
    begun = time.monotonic()
    (hung,), _ = run(tmp_path, sections("hangs"), budget_s=1.0)
    assert hung.ended == "failed: not done within 1 s"
    assert time.monotonic() - begun < 20
