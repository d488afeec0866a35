"""The page tells what was measured, what was not and why, and judges goals by nothing else."""

from pathlib import Path

import pytest

from benchmarks.gpu.findings import DONE, Findings, Note
from benchmarks.gpu.goals import GOALS, judge
from benchmarks.gpu.page import write_page
from benchmarks.gpu.plan import SECTIONS
from benchmarks.gpu.words import HZ, LORA_ALL, MFU, RATE, TAKEN, TRAINER
from benchmarks.table import Line
from benchmarks.timing import Spread

PAGE = Path(__file__).parents[3] / "docs" / "gpu.md"


def training(mfu: float, times: float) -> Findings:
    spread = Spread(median=times, low=times, high=times)
    what = f"{LORA_ALL}, batch 8"
    lines = [
        Line.number(f"{what}, {TRAINER}", mfu, MFU),
        Line.number(what, 99.0, MFU),  # without the Trainer
        Line.number(f"{LORA_ALL}, batch 1, {TRAINER}", mfu / 2, MFU),
        Line(what=f"{what}, {TRAINER}", spread=spread, unit=RATE, rounds=1, ratio=spread, to="upstream, float32"),
        Line.number("upstream, float32", 1e6, RATE),
    ]
    return Findings(name="training", pieces=lines, ended=DONE)


def verdicts(*found: Findings, is_full: bool = True):
    return {each.goal.unit: each for each in judge(GOALS, found, is_full)}


@pytest.mark.parametrize(
    ("mfu", "times", "words"),
    [(45.0, 12.0, ["reached", "reached"]), (44.9, 11.9, ["missed", "missed"]), (60, 3, ["reached", "missed"])],
)
def test_a_goal_is_reached_at_its_bound(mfu, times, words):
    found = verdicts(training(mfu, times))
    assert [found["%"].word, found["times"].word] == words
    assert [found["%"].measured, found["times"].measured] == [mfu, times]
    assert TRAINER in found["%"].by


def test_the_best_line_counts_and_less_is_better_where_at_most_is_asked():
    memory = [Line.number(f"{LORA_ALL}: {TAKEN}", 11.0, "GB"), Line.number(f"LoRA text, bf16: {TAKEN}", 3.0, "GB")]
    rates = [Line.number("eager", 19.0, HZ), Line.number("CUDA graph", 80.0, HZ)]
    found = verdicts(
        Findings(name="memory", pieces=memory, ended=DONE), Findings(name="control", pieces=rates, ended=DONE)
    )
    assert (found["GB"].measured, found["GB"].word) == (11.0, "reached")
    assert (found["Hz"].measured, found["Hz"].word) == (19.0, "missed")


def test_what_was_not_measured_is_not_judged_and_says_why():
    nothing = verdicts()
    assert all(each.measured is None for each in nothing.values())
    assert nothing["%"].word == "not measured: no GPU has run this yet"
    failed = Findings(name="training", ended="failed: OutOfMemoryError: all of it")
    assert verdicts(failed)["%"].word == "not measured: failed: OutOfMemoryError: all of it"
    small = verdicts(training(60, 20), is_full=False)
    assert small["%"].word == "not measured: not the full-size model on a GPU"
    assert small["%"].measured is None


def test_a_page_has_each_sections_numbers_or_how_it_ended():
    found = [
        training(50.0, 13.0),
        Findings(name="memory", pieces=[Note(what="a card", text="has | no `room`")], ended="failed: *all* of it"),
        Findings(name="control", ended="skipped: 3 s of 450 s were left, and it needs 30"),
    ]
    page = write_page(SECTIONS, found, "full", "a command")
    assert "Found by `a command`" in page
    assert "| 50 %" in page
    assert "- a card: has / no 'room'" in page
    assert "**failed: \\*all\\* of it**" in page
    assert "**skipped: 3 s of 450 s" in page
    titles = {section.name: section.title for section in SECTIONS}
    assert page.index(f"## {titles['training']}") < page.index(f"## {titles['memory']}")
    assert titles["probing"] in page.split("Not begun: ")[1]
    assert "No GPU has run this yet" not in page
    assert "tiny model" in write_page(SECTIONS, found, "small")


def test_the_page_in_docs_claims_nothing_or_names_the_device():
    """As long as no GPU has run it, it is the page of nothing; from then on it says on what."""
    page = PAGE.read_text()
    if "- driver: " not in page:
        assert page == write_page(SECTIONS, [], None)
        assert page.count("not measured: no GPU has run this yet") == len(GOALS)
