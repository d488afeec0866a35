"""What the sections find, each on a CPU with the tiny model; the whole script as users run it."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from benchmarks.device import OutOfMemory
from benchmarks.gpu import __main__ as script
from benchmarks.gpu.findings import DONE, Note
from benchmarks.gpu.plan import SECTIONS
from benchmarks.gpu.sections import equality, idle, machine, memory, training
from benchmarks.gpu.words import CONTEXTS, GRADIENTS

pytestmark = pytest.mark.usefixtures("heap")


def numbers(pieces):
    return {piece.what: piece.spread.median for piece in pieces if not isinstance(piece, Note)}


def test_the_device_is_named_and_its_peaks_are_measured(bench):
    pieces = list(machine.run(bench))
    notes = {piece.what: piece.text for piece in pieces if isinstance(piece, Note)}
    assert notes["PyTorch"] == torch.__version__
    assert notes["Python"] == sys.version.split()[0]
    assert "CPU" in notes["device"]
    assert len(numbers(pieces)) == 3
    assert all(value > 0 for value in numbers(pieces).values())


def test_where_the_time_goes_adds_up(bench):
    found = numbers(idle.run(bench))
    for count in bench.size.windows:
        shares = [value for what, value in found.items() if what.startswith(f"batch {count}: ")]
        assert sum(shares) == pytest.approx(100)
    assert any(", longest: " in what for what in found)


def test_what_the_device_computes_otherwise_is_found(bench, monkeypatch):
    """The same device computes the same; one that is off by a thousandth is seen, in contexts and gradients."""
    same = numbers(equality.run(bench))
    assert same[CONTEXTS] == same[GRADIENTS] == 0
    compute, calls = equality.compute, []

    def compute_badly(policy, batch):
        calls.append(None)
        off = 1.001 if len(calls) == 1 else 1.0
        return {name: value * off for name, value in compute(policy, batch).items()}

    monkeypatch.setattr(equality, "compute", compute_badly)
    found = numbers(equality.run(bench))
    assert found[CONTEXTS] == pytest.approx(1e-3, rel=1e-2)
    assert found[GRADIENTS] == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("room", [0, 1, 2, 3, 7, 8, 31, 100, 517])
@pytest.mark.parametrize("least", [1, 5, 64])
def test_the_largest_batch_fits_and_little_more_does_not(room, least):
    tried = []

    def fits(count):
        tried.append(count)
        return count <= room

    found = memory.find_largest(fits, least, most=512)
    assert found <= room
    assert found == min(room, 512) or found + max(found // memory.FINENESS, 1) > min(room, 512)
    assert max(tried) <= 512
    assert len(tried) < 24


def test_a_card_too_small_and_one_too_large_say_so(bench):
    bench = replace(bench, size=replace(bench.size, cards_gb=(0, 1 << 20)))
    pieces = list(memory.measure_cards(bench, "model/lora=all", "ours"))
    assert [piece.text.split(":")[0] for piece in pieces] == ["not one window fits", "not measured"]


def test_a_batch_that_does_not_fit_is_a_note_and_the_next_one_has_its_turn(bench, monkeypatch):
    def measure(bench, what, count, upstream):
        if count == 1:
            raise OutOfMemory("no room")
        yield training.Line.number(what, count, "windows")

    monkeypatch.setattr(training, "measure_upstream", lambda *_: training.Line.number("upstream", 1.0, "windows/s"))
    monkeypatch.setattr(training, "measure_ours", measure)
    _, note, line = training.run(bench)
    assert "does not fit" in note.text
    assert line.spread.median == 2


def test_without_a_gpu_one_line_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script.main(["--out", str(tmp_path / "out")]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("benchmarks.gpu: no CUDA device is visible here")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_script_runs_as_it_does_on_a_gpu(tmp_path):
    """Every section ends, and has numbers; each was written down when it was there."""
    page = tmp_path / "gpu.md"
    assert script.main(["--small", "--minutes", "30", "--out", str(tmp_path), "--page", str(page)]) == 0
    pieces = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    ended = {piece["section"]: piece["ended"] for piece in pieces if "ended" in piece}
    assert ended == {section.name: DONE for section in SECTIONS}
    notes = [piece["note"]["text"] for piece in pieces if "note" in piece]
    assert not [text for text in notes if text.startswith("failed")]
    for section in SECTIONS:
        lines = [piece["line"] for piece in pieces if piece["section"] == section.name and "line" in piece]
        assert lines, section.name
        assert f"## {section.title}\n" in page.read_text()
    differing = [piece["line"] for piece in pieces if piece["section"] == "resumed" and "line" in piece]
    assert {line["unit"]: line["spread"]["median"] for line in differing}["entries that differ"] == 0
