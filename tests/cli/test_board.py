"""`mobile-vla board`: TensorBoard shows the runs alone, under short names, and what they differ in."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mobile_vla.display.tensorboard import Board
from tests.cli.run_folders import write_imported, write_json, write_run
from tests.cli.small_training import run

SWEEP = "2026-01-31_09-00-00_sweep_seed-0-1"


def ask(address: str, path: str, given: bytes | None = None) -> Any:
    request = urllib.request.Request(address + path, given, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_for_columns(address: str) -> list[str]:
    """Of the HParams table, once the folders are read."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = ask(address, "data/plugin/hparams/experiment", b"{}")
        if len(ask(address, "data/runs")) == 3 and "hparamInfos" in found:
            return [info["name"] for info in found["hparamInfos"]]
        time.sleep(0.3)
    raise AssertionError("TensorBoard reads nothing")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two that differ in seed and adapters, of which each logged as a training does, and one without events."""
    folder = tmp_path / "runs"
    for seed, lora in enumerate(("all", "text")):
        one = write_run(folder / f"train/{SWEEP}/{seed}_seed-{seed}_lora-{lora}", seed=seed, lora=lora)
        board = Board(one)
        board.log_config(yaml.safe_load((one / "config.yaml").read_text()))
        board.log_metrics({"val_loss": 0.1 + seed}, 4)
        board.finalize("success")
    write_imported(folder / "import/lab")
    return folder


def contents(folder: Path) -> dict[Path, bytes | Path]:
    return {
        path: path.readlink() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_a_link_a_run_and_nothing_in_the_runs(runs: Path, tmp_path: Path, capsys):
    before = contents(runs)
    probe = tmp_path / "runs/probe/p"
    write_json(probe / "probe.json", {"schema": 1, "folder": str(runs / f"train/{SWEEP}/0_seed-0_lora-all")})
    out = tmp_path / "board"
    assert run("board", f"runs={runs}", f"out={out}", "start=false", "probes=true") == 0
    told = json.loads((out / "board.json").read_text())
    links = {path.name: path.resolve() for path in out.iterdir() if path.is_symlink()}
    assert links == {
        "seed-0_lora-all": runs / f"train/{SWEEP}/0_seed-0_lora-all",
        "seed-1_lora-text": runs / f"train/{SWEEP}/1_seed-1_lora-text",
        "seed-0_lora-all_probe": probe,
    }
    assert told["schema"] == 1
    assert told["links"] == {name: str(folder) for name, folder in links.items()}
    assert told["left"] == {"import/lab": str(runs / "import/lab")}
    assert [row["name"] for row in told["runs"]] == ["seed-0_lora-all", "seed-1_lora-text"]
    printed = capsys.readouterr().out
    assert f"-m tensorboard.main --logdir {out}" in printed
    assert "not shown, without TensorBoard events: import/lab" in printed
    assert printed.splitlines()[-1] == str(out)
    (probe / "probe.json").unlink()
    assert contents(runs) == before


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_mistakes_are_told_before_anything_is_written(runs: Path, tmp_path: Path, taken: int, capsys):
    before = contents(tmp_path)
    given = {"runs": str(runs), "out": str(tmp_path / "board")}
    for words, message in (
        (
            {"port": str(taken), "host": "127.0.0.1"},
            f"port={taken}: cannot be had on 127.0.0.1 (Address already in use)",
        ),
        ({"port": "70000"}, "port: expected 0 (any that is free) to 65535, got 70000"),
        ({"host": "no.such.host.invalid"}, "host=no.such.host.invalid port=6006: no such address"),
        ({"runs": str(runs / "import")}, "holds TensorBoard events"),
    ):
        assert run("board", *(f"{key}={value}" for key, value in {**given, **words}.items())) == 2
        told = capsys.readouterr().err
        assert message in told
        assert len(told.splitlines()) == 1
    assert contents(tmp_path) == before
    assert not (tmp_path / "board").exists()


def ignore_interrupts() -> None:
    """As a script does for what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_it_shows_the_runs_until_it_is_interrupted(runs: Path, tmp_path: Path):
    out = tmp_path / "board"
    command = [sys.executable, "-m", "mobile_vla", "board", f"runs={runs}", f"out={out}", "port=0", "host=127.0.0.1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=ignore_interrupts) as process:
        try:
            assert process.stdout is not None
            lines = []
            while not lines or lines[-1] != str(out):  # the folder is the last line, and then it answers
                line = process.stdout.readline()
                assert line, f"it ended: {process.stderr.read() if process.stderr else ''}"
                lines.append(line.rstrip("\n"))
            told = json.loads((out / "board.json").read_text())
            assert any(line.startswith(f"TensorBoard: {told['address']}") for line in lines)
            columns = wait_for_columns(told["address"])
            shown = set(ask(told["address"], "data/runs"))
        finally:
            process.send_signal(signal.SIGINT)
            try:
                _, said = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert process.returncode == 130
    assert said.startswith("mobile-vla: TensorBoard has ended; again with: ")
    assert "Traceback" not in said
    with pytest.raises(OSError):  # noqa: PT011 - refused, whatever the system calls it
        socket.create_connection(("127.0.0.1", told["port"]), timeout=2)
    assert shown == {"seed-0_lora-all", "seed-1_lora-text", "."}
    assert columns == ["model.lora.preset", "seed"], "what they differ in, not what the first one happens to declare"
