"""Stores get names that are no words for a side, and runs of one recipe are known by their saved settings."""

from dataclasses import replace

import numpy as np

from mobile_vla.analysis.subject import Subject
from mobile_vla.analysis.titles import find_recipe, title_subjects
from tests.analysis.conftest import write_store


def subject(folder, name: str, run=None, **told) -> Subject:
    store = write_store(folder, {"context": np.eye(3)}, ["a", "b", "c"], [0] * 3, [0.0] * 3, run={"folder": run} | told)
    return Subject(name=name, store=store)


def test_titles(tmp_path):
    stores = [subject(tmp_path / str(place), name) for place, name in enumerate(("probe", "probe", "left", "other"))]
    assert [one.called for one in title_subjects(stores)] == ["A (probe)", "B (probe)", "C", "other"]


def test_runs_that_differ_in_their_seed_only_are_one_recipe(tmp_path):
    def run(name: str, text: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
        return str(tmp_path / name)

    runs = [
        run("a", "seed: 0\nout: a\nlr: 1\n"),
        run("b", "seed: 1\nout: b\nlr: 1\n"),
        run("c", "seed: 1\nlr: 2\n"),
        run("d", "lr: 1\n"),
        str(tmp_path / "gone"),
    ]
    stores = [subject(tmp_path / f"store_{place}", "x", folder) for place, folder in enumerate(runs)]
    one, two, other, no_seed, gone = map(find_recipe, stores)
    assert (one[1], two[1]) == (0, 1)
    assert one[0] == two[0] != other[0]
    assert no_seed is gone is None
    start = subject(tmp_path / "start", "x", runs[0], step=0)
    assert find_recipe(start)[0] != one[0]
    assert find_recipe(replace(stores[0], run=tmp_path / "b")) == two
