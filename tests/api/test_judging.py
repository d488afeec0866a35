"""`judge` and `compare` from Python find what `mobile-vla compare` writes, to the last digit."""

import json
from pathlib import Path

import pytest

import mobile_vla as mv
from mobile_vla.cli.registry import load_command
from mobile_vla.core import durable
from mobile_vla.core.errors import UserError
from mobile_vla.jobs.launch import launch
from mobile_vla.jobs.results import make_plain
from mobile_vla.settings.conf_folder import find_conf_folder
from tests.analysis.planted_store import Wanted, write_planted

QUICK = {"permutations": 19, "spikes": 60}


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> Path:
    """Two stores of few episodes, and what the command says of them."""
    folder = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "_sync", lambda path: None)
        patch.setattr("mobile_vla.analysis.report.writing.write_events", lambda *_: None)
        patch.setattr("mobile_vla.analysis.report.writing.save_figures", lambda *_: {})
        patch.setattr("mobile_vla.analysis.report.writing.write_page", lambda *_: None)
        for name, seed in (("one", 0), ("other", 1)):
            write_planted(folder / name, Wanted(episodes=12, swap=False, seed=seed))
        words = [f"{name}={value}" for name, value in QUICK.items()]
        places = [f"left={folder / 'one'}", f"right={folder / 'other'}", f"out={folder / 'compared'}"]
        assert launch(load_command("compare"), [*places, *words, "targets=[scenario]"], find_conf_folder()) == 0
    return folder


@pytest.fixture(scope="module")
def told(stores: Path) -> dict:
    return json.loads((stores / "compared" / "compare.json").read_text("utf-8"))


def test_a_judgement_is_the_commands(stores, told):
    found = mv.judge(mv.open_store(stores / "one"), target="scenario", **QUICK)
    assert make_plain(found.to_plain()) == told["verdicts"]["left"]
    assert repr(found).startswith("preserving: ")


def test_a_comparison_is_the_commands_and_writes_nothing_unasked(stores, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = mv.compare(mv.open_store(stores / "one"), stores / "other", targets="scenario", **QUICK)
    found = make_plain(study.to_plain())
    assert found == {name: told[name] for name in found}
    assert not list(tmp_path.iterdir())


def test_mistakes_name_the_argument(stores):
    with pytest.raises(UserError, match=r"^permutations: expected 19 or more, .* got 9"):
        mv.judge(stores / "one", permutations=9)
    with pytest.raises(UserError, match=r"store=.*no such folder"):
        mv.judge(stores / "two")
    with pytest.raises(UserError, match=r"^stores names all of them"):
        mv.compare(stores / "one", stores=[stores / "other"])
    with pytest.raises(UserError, match=r"^out='.*': the folder is not empty"):
        mv.compare(stores=[stores / "one", stores / "other"], out=stores / "one", **QUICK)
    with pytest.raises(UserError, match="colour"):
        mv.judge(stores / "one", target="colour", **QUICK)
