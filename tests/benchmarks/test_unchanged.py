"""The comparison finds what changed and nothing else: values, types, missing fields, hashes that follow."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from benchmarks.unchanged.__main__ import compare_crossed
from benchmarks.unchanged.comparing import compare, format_table
from benchmarks.unchanged.quantities import QUANTITIES
from benchmarks.unchanged.reading import read_folder

LOSS, WEIGHT, HASH = "run/train.json:val_loss", "run/last.ckpt:state_dict.w", "s/manifest.json:checksums.v.npy.sha256"
VECTORS, LABEL, SECONDS = "s/shards/v.npy:array", "s/manifest.json:labels[0]", "run/train.json:seconds"
VERDICT, WHY = "c/compare.json:verdicts.left.preserving.verdict", "c/compare.json:verdicts.left.preserving.why"
BEFORE = {
    LOSS: 0.25,
    WEIGHT: np.ones((2, 3), np.float32),
    VECTORS: np.array([1.0, np.nan], np.float32),
    HASH: "ab",
    LABEL: "left",
    SECONDS: 3.0,
    VERDICT: "yes",
    WHY: "it holds the margin",
}


def broken(now, accepted=()):
    return {line.quantity.name for line in compare(BEFORE, now, accepted) if line.outcome == "BROKEN"}


def test_nothing_is_broken_by_rounding_or_by_what_is_measured():
    now = {**BEFORE, LOSS: 0.25 + 1e-8, SECONDS: 99.0, WEIGHT: BEFORE[WEIGHT] + np.float32(3e-7)}
    assert broken(BEFORE) == broken(now) == set()
    assert sum(line.count for line in compare(BEFORE, now)) == len(BEFORE)


@pytest.mark.parametrize(
    ("place", "now", "quantity"),
    [
        (LOSS, 0.25 + 2e-6, "losses and metrics"),
        (LOSS, float("nan"), "losses and metrics"),
        (LOSS, None, "losses and metrics"),
        (WEIGHT, np.ones((3, 2), np.float32), "weights"),
        (WEIGHT, np.ones((2, 3)), "weights"),
        (WEIGHT, np.array([[1, 1, 1], [1, 1, 1.001]], np.float32), "weights"),
        (VECTORS, np.array([1.0, 0.0], np.float32), "vectors and predictions"),
        (LABEL, "links", "stores: rows, plan, labels"),
        (VERDICT, "no", "verdicts"),
        (WHY, "it is above the margin", "sentences in findings"),
        (HASH, "cd", "hashes of weights and vectors"),
    ],
)
def test_a_change_is_reported_under_its_quantity(place, now, quantity):
    lines = compare(BEFORE, {**BEFORE, place: now})
    found = {line.quantity.name: line.wrong for line in lines if line.outcome == "BROKEN"}
    assert quantity in found
    assert found[quantity][0].startswith(f"{place}: ")
    assert "BROKEN" in format_table(lines)


@pytest.mark.parametrize("place", BEFORE)
def test_a_value_that_is_missing_or_new_is_reported(place):
    less = {name: value for name, value in BEFORE.items() if name != place}
    for one, other in ((BEFORE, less), (less, BEFORE)):
        wrong = [text for line in compare(one, other) for text in line.wrong]
        assert [text.split(": ")[0] for text in wrong] == [place]
        assert "nothing" in wrong[0]


def test_a_hash_may_follow_vectors_that_moved_within_their_tolerance():
    moved = BEFORE[VECTORS] + np.float32(1e-6)
    assert broken({**BEFORE, HASH: "cd", VECTORS: moved}) == set()
    assert broken({**BEFORE, HASH: None, VECTORS: moved}) == {"hashes of weights and vectors"}


def test_what_is_accepted_is_no_failure_and_is_still_shown():
    now = {**BEFORE, WHY: "in other words"}
    assert broken(now, ["sentences in findings"]) == set()
    assert "accepted" in format_table(compare(BEFORE, now, ["sentences in findings"]))


def test_every_quantity_has_a_name_of_its_own_and_a_reason():
    assert len({one.name for one in QUANTITIES}) == len(QUANTITIES)
    assert all(one.reason for one in QUANTITIES)


def write(folder: Path, shift: float = 0.0) -> Path:
    """One file of each kind; `shift` moves the numbers of all of them."""
    (folder / "run").mkdir(parents=True)
    with h5py.File(folder / "run" / "e.h5", "w") as file:
        file["images"] = np.full((2, 3), 7 + shift)
        file.attrs["instruction"] = "go left"
    np.save(folder / "run" / "v.npy", np.arange(3) + shift)
    save_file({"w": np.arange(3) + shift}, folder / "run" / "w.safetensors")
    torch.save({"state_dict": {"w": torch.ones(2) + shift}, "epoch": 1}, folder / "run" / "last.ckpt")
    (folder / "run" / "train.json").write_text(json.dumps({"of": str(folder), "by": [[1, 2 + shift]], "no": []}))
    (folder / "run" / "metrics.csv").write_text(f"epoch,loss\n0,\n1,{0.5 + shift}\n")
    (folder / "run" / "epoch=001-val_loss=0.32650.txt").write_text(f"loss {shift}\n")
    return folder


def test_every_kind_of_file_is_read(tmp_path):
    one, same, other = write(tmp_path / "a"), write(tmp_path / "b"), write(tmp_path / "c", 1.0)
    before, again, moved = (read_folder(folder, [folder]) for folder in (one, same, other))
    assert all(not line.wrong for line in compare(before, again))
    wrong = {text.split(":")[0] for line in compare(before, moved) for text in line.wrong}
    assert wrong == {name.split(":")[0] for name in before}
    assert before["run/train.json:of"] == "<folder>"
    assert "run/epoch=001-val_loss=#.txt" in before


def test_a_run_that_cannot_be_continued_must_say_so_in_one_line():
    earlier = {"run/train.json:val_loss": 0.25, "eval/eval.json:loss": 0.5}
    crossed = {"eval/eval.json:loss": 0.5, "run/train.json:val_loss": 0.3, "said.json:eval.exit": 0}
    refused = {**crossed, "said.json:resume.exit": 2, "said.json:resume.stderr.length": 1}
    crashed = {**crossed, "said.json:resume.exit": 1, "said.json:resume.stderr.length": 20}
    continued = {**crossed, "said.json:resume.exit": 0}

    def outcomes(found):
        return {line.quantity.name for line in compare_crossed(earlier, found, ()) if line.outcome == "BROKEN"}

    assert outcomes(refused) == set()
    assert outcomes(crashed) == {"exit codes and messages", "losses and metrics"}
    assert outcomes(continued) == {"losses and metrics"}
