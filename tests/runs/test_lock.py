"""One process in a run's folder at a time, and none is kept out by a dead one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.runs.lock import RunLock, remove_begun

HOLD = """
import sys, time
from pathlib import Path
from mobile_vla.runs.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_the_first_is(holder, tmp_path):
    named = rf"{tmp_path} is being trained in by process {holder.pid} on \S+; wait"
    with pytest.raises(UserError, match=named) as told:
        RunLock(tmp_path)
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match=f"process {holder.pid} "):  # nor does it take it by asking again
        RunLock(tmp_path)


def test_a_dead_process_holds_nothing(holder, tmp_path):
    holder.kill()
    holder.wait()
    RunLock(tmp_path).release()


def test_released_it_may_be_taken(tmp_path):
    lock = RunLock(tmp_path)
    assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()
    lock.release()
    held = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
    assert held.stdout is not None
    assert held.stdout.readline() == b"held\n"
    held.kill()
    held.communicate()


@pytest.mark.slow
def test_two_trainings_in_one_folder(trainings, tmp_path):
    """The second refuses; the third begins where the first was killed, while the first one's workers still live."""
    out, data = tmp_path / "run", {"num_workers": 2}
    first = trainings.start(out, nap_s=0.1, data=data)
    assert first.until((out / "metrics.csv").exists)
    table = (out / "metrics.csv").read_bytes()
    assert trainings.run(out, data=data) == 2
    assert f"is being trained in by process {first.pid} on" in first.said()
    assert not first.is_over()
    assert (out / "metrics.csv").read_bytes().startswith(table)
    first.send(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    third = trainings.start(out, nap_s=0.1, data=data)
    alive = members(first.pid)
    assert alive, "the first one's workers were to outlive it for a moment"
    assert third.until_saved(), third.said()
    third.send(signal.SIGKILL)
    third.wait()
    os.killpg(first.pid, signal.SIGKILL)


def members(group: int) -> list[int]:
    """Living processes of a group."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if os.getpgid(pid) == group and state != "Z":
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_only_what_a_training_has_begun_is_removed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    out = tmp_path / "out"
    lock = RunLock(out)
    (out / "metrics.csv").touch()  # somebody else's, from before
    before = [path.name for path in out.iterdir()]
    (out / "checkpoints").mkdir()
    for name in ("split.json", "checkpoints/last.ckpt", "mine.txt", "events.out.tfevents.1"):
        (out / name).touch()
    (out / "contexts").symlink_to(tmp_path / "elsewhere")
    remove_begun(out, before)
    assert sorted(path.name for path in out.iterdir()) == [".lock", "contexts", "metrics.csv", "mine.txt"]
    assert (tmp_path / "elsewhere" / "file").exists()
    lock.release()
