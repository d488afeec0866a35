"""The console script as a process: help, versions, exit codes."""

import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

from mobile_vla.cli.help import format_help
from mobile_vla.cli.main import main
from mobile_vla.cli.registry import MODULES, load_command
from mobile_vla.cli.terminal.interrupts import keep_interrupts
from mobile_vla.settings.conf_folder import find_conf_folder

HEAVY = ("torch", "lightning", "transformers", "peft", "h5py", "numpy", "pydantic", "hydra", "omegaconf")


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_overview_lists_every_command(capsys, arguments):
    code, out, _ = ask(capsys, *arguments)
    assert code == 0
    for name in MODULES:
        assert f"  {name}" in out


def test_the_version(capsys):
    assert ask(capsys, "--version") == (0, "mobile-vla 0.1.0\n", "")
    assert ask(capsys, "synth", "--version") == (0, "mobile-vla 0.1.0\n", "")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("snyth", "unknown command 'snyth': did you mean 'synth'?"),
        ("zzz", "unknown command 'zzz' (there are "),
        ("model=tiny", "'model=tiny' is no command: the first word is one of "),
    ],
)
def test_an_unknown_command_is_one_line(capsys, argument, message):
    code, out, error = ask(capsys, argument)
    assert (code, out) == (2, "")
    assert error.startswith(f"mobile-vla: error: {message}")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("name", MODULES)
def test_every_command_has_its_file_its_settings_and_examples(name, capsys):
    command = load_command(name)
    conf = find_conf_folder()
    assert command.name == name
    assert (conf / f"{name}.yaml").is_file()
    text = format_help(command, conf)
    for word in ("out=null", "name=null", *(f"{word}=null" for word in command.saved)):
        assert word in text, "the command line reads it, so the configuration names it"
    for example in command.examples:
        assert example.startswith(f"mobile-vla {name}")
    assert ask(capsys, name, "out=x", "--help")[:2] == (0, f"{text}\n")


def test_help_shows_groups_defaults_and_comments(bench):
    text = format_help(bench.command(), bench.conf)
    assert "mobile-vla train seed=3" in text
    assert "  model       big*, tiny\n" in text
    assert "  model/lora  none, text*\n" in text
    assert "  experiment  quick\n" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "seed=0 of everything random" in lines
    assert "data.root=episodes where the episodes lie" in lines
    assert "model.lora.rank=4" in lines
    assert "trainer.schedule.kind=cosine" in lines
    assert "resolution=[720,1280]" in lines
    assert not any(line.startswith("defaults") for line in lines)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom mobile_vla.cli.main import dispatch\n"
        "for words in ([], ['synth', '--help'], ['--version']): dispatch(words)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_process_exits_with_the_code(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        root = Path(__file__).parents[2]
        return subprocess.run(
            [sys.executable, "-m", "mobile_vla", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        )

    done = run("synth", "episods=3")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mobile-vla: error: unknown setting 'episods': did you mean 'episodes'?\n"
    done = run("synth", "--cfg", "job", "out=a (한글), b")
    assert (done.returncode, done.stderr) == (0, "")
    assert "out: a (한글), b" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("broken"), 1)])
def test_interruption_and_our_own_faults(capsys, monkeypatch, error, code):
    def fail(arguments):
        raise error

    monkeypatch.setattr("mobile_vla.cli.main.dispatch", fail)
    found, _, text = ask(capsys, "synth")
    assert found == code
    assert (text == "mobile-vla: interrupted\n") if code == 130 else ("RuntimeError: broken" in text)


def test_an_interrupt_in_a_garbage_collectors_callback_is_not_lost():
    class Thing:
        pass

    def interrupt(reference):
        raise KeyboardInterrupt

    def work():
        thing = Thing()
        reference = weakref.ref(thing, interrupt)
        del thing
        assert reference() is None
        for _ in range(1000):
            time.sleep(0.01)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning ignores it from its first Ctrl-C on
    with pytest.raises(KeyboardInterrupt), keep_interrupts():
        work()
