"""A reader that goes away does not end the work, and never turns a failure into success."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes

ROOT = Path(__file__).parents[2]

WORK = """
import os, sys, time
import mobile_vla.cli.main as main
from mobile_vla.core.errors import UserError

def work(arguments):
    for stream in (sys.stdout, sys.stderr):
        print("begun", file=stream, flush=True)
    while not os.path.exists("go on"):
        time.sleep(0.01)
    for line in range(3):
        print("progress", file=sys.stderr)
        print("x" * 100_000)
    if "broken" in arguments:
        raise BrokenPipeError("a worker has died")
    if "wrong" in arguments:
        raise UserError("wrong")
    open("result", "w").write("whole")
    return 0

main.dispatch = work
main.main(sys.argv[1:])
"""


def start(folder, *arguments, code=WORK, **streams):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


@pytest.mark.parametrize("closed", [("stderr",), ("stdout",), ("stdout", "stderr")])
def test_work_goes_on_when_nobody_reads_it_any_more(tmp_path, closed):
    process = start(tmp_path)
    for name in ("stdout", "stderr"):
        assert getattr(process, name).readline() == b"begun\n"
    for name in closed:
        getattr(process, name).close()
    (tmp_path / "go on").touch()
    for name in {"stdout", "stderr"} - set(closed):
        getattr(process, name).read()
    assert process.wait(20) == 0
    assert (tmp_path / "result").read_text() == "whole"


@pytest.mark.parametrize(("how", "code"), [("broken", 1), ("wrong", 2)])
def test_a_failure_stays_one_when_nobody_reads_it(tmp_path, how, code):
    """Also one that is a broken pipe of another kind: a worker's."""
    process = start(tmp_path, how)
    assert process.stderr.readline() == b"begun\n"
    process.stdout.close()
    process.stderr.close()
    (tmp_path / "go on").touch()
    assert process.wait(20) == code
    assert not (tmp_path / "result").exists()


def test_streams_that_are_closed_from_the_beginning(tmp_path):
    """Nothing that is printed goes into the next file that is opened."""
    (tmp_path / "go on").touch()
    code = f"import os\nos.closerange(0, 3)\nos.execv({sys.executable!r}, [{sys.executable!r}, '-c', {WORK!r}])"
    assert start(tmp_path, code=code).wait(20) == 0
    assert (tmp_path / "result").read_text() == "whole"


def test_both_streams_of_a_real_command_may_be_cut_off(tmp_path):
    """`| head -1` of a help text: the shell's usual case."""
    process = start(tmp_path, "train", "--help", code="from mobile_vla.cli.main import main\nmain()")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 0


TRAIN = ["train", "experiment=demo", "data.root=episodes", "data.pack=false", "cache.at=none", "out=run"]


@pytest.mark.slow
@pytest.mark.parametrize("closed", [("stderr",), ("stdout", "stderr")])
def test_a_training_whose_readers_die_still_has_its_result(tmp_path, closed):
    write_episodes(SynthConfig(episodes=12, resolution=(90, 160), workers=1), tmp_path / "episodes")
    process = start(tmp_path, *TRAIN, "trainer.max_epochs=4", code="from mobile_vla.cli.main import main\nmain()")
    os.set_blocking(process.stdout.fileno(), False)
    while not process.stderr.readline().startswith(b"epoch 1/"):
        assert process.poll() is None
    for name in closed:
        getattr(process, name).close()
    code = process.wait(300)
    found = json.loads((tmp_path / "run" / "train.json").read_text())
    assert (code, found["epochs"]) == (0, 4)


@pytest.mark.slow
def test_a_training_that_is_ended_with_dead_readers_is_no_success(tmp_path):
    write_episodes(SynthConfig(episodes=12, resolution=(90, 160), workers=1), tmp_path / "episodes")
    process = start(tmp_path, *TRAIN, "trainer.max_epochs=400", code="from mobile_vla.cli.main import main\nmain()")
    os.set_blocking(process.stdout.fileno(), False)
    while not process.stderr.readline().startswith(b"epoch 1/"):
        assert process.poll() is None
    process.stderr.close()
    process.stdout.close()
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143
    assert not (tmp_path / "run" / "train.json").exists()
