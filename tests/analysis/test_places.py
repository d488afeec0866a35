"""Which store a word means: a store, a probe, a run's last complete epoch, else its newest probe."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mobile_vla.analysis.places import find_subject, name_subjects
from mobile_vla.core.errors import UserError
from tests.analysis.conftest import write_store


def small(folder: Path) -> Path:
    write_store(folder, {"context": np.eye(3)}, ["a", "b", "c"], [0] * 3, [0.0] * 3)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "train" / "2026-01-31_09-00-00_demo"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    return folder


def probe_of(run: Path, name: str, at_s: int, **told) -> Path:
    probe = run.parent.parent / "probe" / name
    manifest = small(probe / "contexts") / "manifest.json"
    (probe / "probe.json").write_text(json.dumps({"folder": str(run), "checkpoint": "best.ckpt", **told}))
    os.utime(manifest, (at_s, at_s))
    return probe


def test_a_store_and_a_probe(tmp_path):
    store = small(tmp_path / "2026-01-31_09-00-00_before" / "contexts")
    (store.parent / "attention_0.png").write_bytes(b"")
    for folder in (store, store.parent):
        subject = find_subject(str(folder), "left")
        assert (subject.name, subject.store.folder, subject.run) == ("before", store, None)
        assert [file.name for file in subject.pictures] == ["attention_0.png"]
    assert find_subject(str(store), "left", "left").name == "left"


def test_a_run_is_its_last_complete_epoch(run):
    for epoch in (0, 2, 10, 11):
        small(run / "contexts" / f"epoch_{epoch:03d}")
    manifest = run / "contexts" / "epoch_011" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"complete": False}))
    probe_of(run, "later", at_s=2_000_000_000)
    subject = find_subject(str(run), "left")
    assert subject.store.folder == run / "contexts" / "epoch_010"
    assert list(subject.epochs) == [0, 2, 10]
    assert (subject.name, subject.run) == ("demo", run)
    assert find_subject(str(run / "contexts" / "epoch_002"), "left").name == "demo_epoch_002"


def test_a_run_without_epochs_is_its_newest_probe(run):
    with pytest.raises(UserError, match="no complete store of contexts; probe the run"):
        find_subject(str(run), "left")
    probe_of(run, "old", at_s=1_000)
    newest = probe_of(run, "new", at_s=2_000)
    probe_of(run, "before", at_s=3_000, checkpoint="start")
    probe_of(run, "of_another", at_s=4_000, folder="/elsewhere")
    subject = find_subject(str(run), "left")
    assert (subject.store.folder, dict(subject.epochs)) == (newest / "contexts", {})


def test_names_differ(tmp_path):
    stores = [small(tmp_path / part / "contexts") for part in ("a/run", "b/run", "run_2")]
    named = name_subjects([find_subject(str(store), "stores") for store in stores])
    assert len({subject.name for subject in named}) == 3
    assert [subject.name for subject in named[:2]] == ["run", "run_2"]
