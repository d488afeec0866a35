"""The sizes that a worker of an earlier commit tells are those that this code is given."""

import json

import pytest

from benchmarks import tiny_worker
from benchmarks.earlier import check_out
from benchmarks.setting import prepare_training
from benchmarks.tiny_step import as_overrides
from tests.benchmarks.conftest import EPISODES, TINY


def test_sizes_become_the_same_sizes(tmp_path):
    sizes = {"architecture": {"text_config": {"embed_dim": 32, "attention_heads": 2}}, "head": {"mlp": [8, 4]}}
    model = prepare_training(tmp_path, [*TINY, *as_overrides("model", sizes)], EPISODES).config.model
    assert model.architecture["text_config"]["embed_dim"] == 32
    assert model.architecture["text_config"]["attention_heads"] == 2
    assert model.head.mlp == (8, 4)


def test_a_worker_says_what_it_is_and_how_long_its_work_took(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tiny_worker, "EPISODES", EPISODES)
    monkeypatch.setattr("sys.stdin", ["train\n", "validate\n"])
    tiny_worker.serve(tmp_path, TINY)
    facts, train, validate = (json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{")
    assert facts["train"] == facts["validate"] == 2 * 11  # two episodes of 18 frames each
    assert facts["gradient"] > 0
    assert train["wall"] > 0
    assert validate["wall"] > 0


def test_an_unknown_commit_is_refused_in_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r"--baseline nowhere: expected a commit of this repository \(fatal: "):
        check_out("nowhere", tmp_path / "then")
