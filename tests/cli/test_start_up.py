"""What a training has done to its process by its first step: a `train` of its own, which is left there."""

import gc
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mobile_vla.cli.terminal.waiting import SETTINGS, wait_asleep
from mobile_vla.jobs.importing import importing_libraries
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.cli.small_training import SMALL

NOT_NEEDED = {  # to take a step
    "pandas", "pyarrow.compute", "sklearn", "tensorflow", "torchvision", "selenium",
    "mobile_vla.analysis.report", "mobile_vla.analysis.study", "mobile_vla.survey", "mobile_vla.opening.assessment",
}  # fmt: skip
TO_FIRST_STEP = """
import builtins, gc, os, sys
plain = builtins.__import__
def leave(*_):
    print(gc.isenabled(), gc.get_freeze_count(), *sys.modules, flush=True)
    os._exit(0)
def watch(*names, **more):
    try:
        return plain(*names, **more)
    finally:
        if policy := getattr(sys.modules.get("mobile_vla.training.module"), "PolicyModule", None):
            policy.on_train_batch_end = leave
builtins.__import__ = watch
from mobile_vla.cli.main import main
main(sys.argv[1:])
"""


@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """What the process says of itself, and what OpenMP's library said when it was loaded."""

    collects: bool
    num_frozen: int
    modules: frozenset[str]
    openmp: str


@pytest.fixture(scope="module")
def first_step(tmp_path_factory) -> FirstStep:
    folder: Path = tmp_path_factory.mktemp("start up")
    write_episodes(SynthConfig(episodes=8, resolution=(27, 48), workers=1), folder / "episodes")
    words = [
        *SMALL,
        f"data.root={folder / 'episodes'}",
        "data.pack=false",
        "data.batch_size=2",
        f"out={folder / 'run'}",
    ]
    given = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", TO_FIRST_STEP, "train", *words],
        capture_output=True,
        text=True,
        env={**given, "OMP_DISPLAY_ENV": "true"},
    )
    assert done.returncode == 0, done.stderr
    collects, num_frozen, *modules = done.stdout.splitlines()[-1].split()
    return FirstStep(
        collects=collects == "True", num_frozen=int(num_frozen), modules=frozenset(modules), openmp=done.stderr
    )


def test_a_step_is_taken_without_what_it_does_not_need(first_step):
    assert "mobile_vla.training.run" in first_step.modules
    assert not first_step.modules & NOT_NEEDED


def test_what_was_imported_is_left_out_of_collecting_which_goes_on(first_step):
    assert first_step.collects
    assert first_step.num_frozen > 500_000, "modules of torch, transformers and Lightning make about a million objects"


def test_threads_of_torch_sleep_while_they_wait(first_step):
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in first_step.openmp


@pytest.mark.parametrize("name", SETTINGS)
def test_how_threads_wait_is_the_users_to_say(monkeypatch, name):
    for setting in SETTINGS:
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setenv(name, "7")
    wait_asleep()
    assert {setting: os.environ.get(setting) for setting in SETTINGS} == {**dict.fromkeys(SETTINGS), name: "7"}


def test_where_torch_is_imported_already_nothing_is_frozen():
    """What commands and tests have left behind in the same process must be collected one day."""
    before = gc.get_freeze_count()
    with importing_libraries():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before
