"""A distance between stores is told only where it means something."""

import numpy as np
import pytest

from mobile_vla.analysis.pairs.basis import explain_other_basis
from tests.analysis.conftest import write_store

MODEL = {"name": "tiny", "layout": "robovlms", "lora": {"r": 0}, "head": {"hidden": 512}}


@pytest.fixture
def make(tmp_path):
    def write(name, base="abc", model=MODEL, run=None, width=4, **more):
        vectors = np.arange(2 * width, dtype=np.float32).reshape(2, width)
        return write_store(
            tmp_path / name,
            {"context": vectors, "head_state": vectors},
            ["a", "b"],
            [0, 0],
            [0, 0],
            fingerprints={"base": base} if base else {"trained": "x"},
            configuration={"model": model, "preprocessing": {"size": 224}} | more,
            run={"folder": run},
        )

    return write


def test_before_and_after_an_adapter_on_the_same_weights_share_one(make):
    before = make("a")
    after = make("b", model=MODEL | {"lora": {"r": 32}, "head": {"hidden": 256}}, precision="bf16")
    assert explain_other_basis(before, after, "context") is None


def test_a_store_from_before_there_was_a_choice_of_models_has_the_one_that_there_was(make):
    unnamed = make("a", model={name: value for name, value in MODEL.items() if name != "name"})
    assert explain_other_basis(unnamed, make("b", model=MODEL | {"name": "kosmos2"}), "context") is None
    other = explain_other_basis(unnamed, make("c", model=MODEL | {"name": "smolvlm"}), "context")
    assert "model.name is kosmos2 and smolvlm" in other


def test_what_differs_is_named(make):
    before = make("a")
    assert "base weights differ (abc and def)" in explain_other_basis(before, make("b", base="def"), "context")
    told = explain_other_basis(before, make("c", model=MODEL | {"layout": "kosmos2"}), "context")
    assert "model.layout is robovlms and kosmos2" in told
    told = explain_other_basis(before, make("d", preprocessing={"size": 112}), "context")
    assert "preprocessing.size is 224 and 112" in told
    assert "no tap context of the same shape" in explain_other_basis(before, make("e", width=3), "context")


def test_imported_arrays_have_no_known_basis(make):
    imported = make("a", base=None)
    assert "no fingerprint of the base weights" in explain_other_basis(imported, make("b"), "context")
    assert "is not known" in explain_other_basis(imported, imported, "context")


def test_the_head_is_begun_anew_by_each_run(make):
    one, other, same = make("a", run="runs/1"), make("b", run="runs/2"), make("c", run="runs/1")
    assert explain_other_basis(one, other, "context") is None
    assert "of the head" in explain_other_basis(one, other, "head_state")
    assert explain_other_basis(one, same, "head_state") is None
    assert "of the head" in explain_other_basis(make("d"), make("e"), "head_state")
