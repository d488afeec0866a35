"""One job takes a folder; the others are told so, and touch neither the folder nor its lock."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.claim import Claim
from mobile_vla.jobs.command import Report
from mobile_vla.jobs.output import check_out, take_out
from mobile_vla.runs.lock import RunLock

HOLD = """
import sys
from pathlib import Path
from mobile_vla.jobs.output import take_out
claim = take_out(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
claim.release(remove_empty=True)
"""


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.fixture
def holder(tmp_path):
    process = start(tmp_path / "out")
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()}


def test_the_loser_of_a_race_touches_nothing(holder, tmp_path):
    """It found the folder free when its settings were checked, and the holder has taken it since."""
    out = tmp_path / "out"
    check_out(out)
    before = state(out)
    with pytest.raises(UserError, match=f"out='{out}': process {holder.pid} on .* has just begun to write there; name"):
        take_out(out)
    assert state(out) == before
    with pytest.raises(UserError, match=f"process {holder.pid}"):  # nor has the first refusal let go of its lock
        take_out(out)
    holder.stdin.close()
    assert holder.wait(20) == 0
    assert not out.exists()


def test_a_job_that_loses_leaves_the_holders_folder(bench, tmp_path, capsys):
    """The whole command, with the interleaving planted: the other takes the folder while this one is prepared."""
    out = Path.cwd() / "out"
    other = []
    prepare = bench.command

    def command(name="train"):
        made = prepare(name)
        own = made.prepare

        def slow(config, context):
            other.append(Claim(_made(out)))
            return own(config, context)

        object.__setattr__(made, "prepare", slow)
        return made

    bench.command = command
    assert bench.run("out=out") == 2
    assert "has just begun to write there" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [".lock"]
    assert bench.ran == []
    other[0].release()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_of_many_at_once_one_wins(tmp_path):
    processes = [start(tmp_path / "out") for _ in range(4)]
    said = [process.stdout.readline() for process in processes]
    assert sorted(said) == [b"", b"", b"", b"held\n"]
    for process in processes:
        process.stdin.close()
    assert sorted(process.wait(20) for process in processes) == [0, 1, 1, 1]
    for process in processes:
        process.stdout.close()
        process.stderr.close()


def test_of_threads_of_one_process_one_wins(tmp_path):
    """The system's lock does not tell them apart."""
    barrier, won, lost = threading.Barrier(8), [], []

    def take():
        barrier.wait()
        try:
            won.append(take_out(tmp_path / "out"))
        except UserError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    won[0].release(remove_empty=True)
    assert not (tmp_path / "out").exists()
    take_out(tmp_path / "out").release()


def test_what_another_has_taken_meanwhile_is_not_removed(tmp_path):
    """A training lets go of the same file when it ends, and with it of the claim."""
    claim = take_out(tmp_path / "out")
    RunLock(tmp_path / "out").release()
    other = start(tmp_path / "out")
    assert other.stdout.readline() == b"held\n"
    before = state(tmp_path / "out")
    claim.release(remove_empty=True)
    assert state(tmp_path / "out") == before
    other.communicate()


def test_a_lock_that_was_removed_while_it_was_waited_for_does_not_count(tmp_path, monkeypatch):
    """Between opening the file and locking it, its holder removes it, and a third process makes another."""
    out = _made(tmp_path / "out")
    (out / ".lock").touch()
    own, opened = os.open, []

    def open_and_lose(path, *args):
        descriptor = own(path, *args)
        if Path(path) == out / ".lock" and not opened:
            opened.append(path)
            (out / ".lock").unlink()
            (out / ".lock").touch()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    with Claim(out):
        assert f"process {os.getpid()} on" in (out / ".lock").read_text()


@pytest.mark.parametrize("content", [b"version = 1\n", b"\x00\xff", b"x" * 1000, b"process 1 on a\nand more"])
def test_a_lock_of_another_program_is_left_alone(tmp_path, content):
    out = _made(tmp_path / "out")
    (out / ".lock").write_bytes(content)
    for fresh in (True, False):
        with pytest.raises(UserError, match=r"the folder is not empty \(it holds .lock\)"):
            take_out(out, fresh)
    assert (out / ".lock").read_bytes() == content
    (out / ".lock").unlink()
    (tmp_path / "elsewhere").touch()
    (out / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError):
        Claim(out)
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_the_lock_is_gone_when_the_job_has_ended(bench):
    seen = []
    bench.job = lambda out: seen.extend(path.name for path in out.iterdir()) or Report(payload={})
    assert bench.run("out=out") == 0
    assert seen == [".lock"]
    assert [path.name for path in Path("out").iterdir()] == ["train.json"]


def test_a_folder_that_a_failed_job_had_written_into_stays(bench):
    def fail(out):
        (out / "kept").touch()
        raise UserError("wrong")

    bench.job = fail
    Path("there").mkdir()
    assert bench.run("out=there") == 2
    assert [path.name for path in Path("there").iterdir()] == ["kept"]
    bench.job = lambda out: (_ for _ in ()).throw(UserError("wrong"))
    assert bench.run("out=new") == 2
    assert not Path("new").exists()
