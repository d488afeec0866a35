"""Probes by several processes, killed, refused by the disk: the store is always the same one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.parts import find_parts
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core.errors import UserError
from tests.contexts.storing import INFO, TAPS, feed, make, plan, sums

ROOT = Path(__file__).parents[2]


def run(what: str, folder: Path, **settings: object) -> dict[str, Any]:
    asked = json.dumps({"what": what, "folder": str(folder), **settings})
    command = [sys.executable, "-m", "tests.contexts.forked_probes", asked]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture
def undisturbed(untouched: Path) -> dict[str, str]:
    return sums(untouched)


def test_one_two_and_four_processes_make_the_same_bytes(tmp_path, undisturbed):
    assert len(undisturbed) == 2 + 3 * 7
    for world in (1, 2, 4):
        assert run("several", tmp_path / str(world), world=world, seed=world) == undisturbed


def test_twenty_kills_at_random_moments_leave_the_same_store(tmp_path, undisturbed):
    found = run("random_kills", tmp_path, kills=20, within_s=0.2)
    assert found["killed"] == 20
    assert all(store == undisturbed for store in found["stores"])


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_any_step_leaves_the_same_store(tmp_path, undisturbed, stride):
    found = run("every_step", tmp_path, stride=stride)
    assert set(found["ends"][:-1]) == {-9}
    assert found["ends"][-1] == 0
    assert len(found["left"]) > 100 / stride
    assert all(store == undisturbed for store in found["left"])


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("at the start", "contexts cannot be stored there: File too large; choose another folder"),
        ("on the way", "contexts cannot be written: File too large; what was stored before stays"),
        ("at the end", "the store cannot be completed: File too large; its rows are safe in parts/"),
    ],
)
def test_a_disk_that_takes_no_more_is_told_in_one_line_and_costs_nothing_that_was_there(
    tmp_path, undisturbed, when, message
):
    found = run("full_disk", tmp_path / "store", when=when)
    assert found["end"] == 0
    assert message in found["message"]
    assert len(found["message"].splitlines()) == 1
    assert any(name.endswith("context.npy") for name in found["before"]) == (when != "at the start")
    assert found["after"] == undisturbed


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"contexts cannot be stored there: Not a directory; choose another"):
        StoreWriter(tmp_path / "file" / "store", plan(), TAPS, INFO)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_read_only_disk_is_told_and_a_complete_store_on_it_is_still_one(tmp_path, undisturbed):
    """Root may write into any folder, so the disk itself is made read-only."""
    begun, done = tmp_path / "begun", tmp_path / "done"
    StoreWriter(begun, plan(), TAPS, INFO, shard_rows=16).close()
    make(done, shard_rows=16)
    mount = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"']
    code = """
import sys
from pathlib import Path
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core.errors import UserError
from tests.contexts.storing import INFO, TAPS, plan
for folder in ("begun", "done", "new"):
    try:
        StoreWriter(Path(sys.argv[1]) / folder, plan(), TAPS, INFO, shard_rows=16).close()
        print(complete(Path(sys.argv[1]) / folder).complete)
    except UserError as error:
        print(error)
"""
    command = [*mount, tmp_path, sys.executable, "-c", code, tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    if "unshare" in done.stderr or "mount" in done.stderr or "denied" in done.stderr:
        pytest.skip("no right to mount")
    first, second, third = done.stdout.splitlines()
    assert "Read-only file system; choose another folder" in first
    assert second == "True"
    assert "Read-only file system; choose another folder" in third
    assert sums(tmp_path / "done") == undisturbed


def test_two_writers_of_one_rank_refuse_each_other(tmp_path):
    """A record lock knows processes, so the second one is one."""
    code = """
import sys
from pathlib import Path
from mobile_vla.contexts.writer import StoreWriter
from tests.contexts.storing import INFO, TAPS, plan
StoreWriter(Path(sys.argv[1]), plan(), TAPS, INFO, rank=1)
print("in", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert other.stdin is not None
    assert other.stdout is not None
    with other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UserError, match=rf"is being written by process {other.pid} on .* as rank 1; wait"):
            StoreWriter(tmp_path / "store", plan(), TAPS, INFO, rank=1)
        with StoreWriter(tmp_path / "store", plan(), TAPS, INFO, rank=0) as writer:
            feed(writer, plan())
        with pytest.raises(UserError, match=rf"still being written by process {other.pid}"):
            complete(tmp_path / "store")
        assert find_parts(tmp_path / "store")
        other.stdin.close()
    assert complete(tmp_path / "store").complete


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from mobile_vla.contexts.manifest import StoreInfo, TapSpec
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.reader import open_store
from mobile_vla.contexts.rows import Row, RowId
from mobile_vla.contexts.writer import StoreWriter

def peak():  # getrusage would give the parent's, where that is larger
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

ids = [RowId(f"episode_{e:04d}", f, "go round the box on the left") for e in range(1000) for f in range(18)]
before = peak()
rng = np.random.default_rng(0)
order = rng.permutation(len(ids))
info = StoreInfo(steps=10, components=("linear_x", "linear_y"))
chunk = np.zeros((10, 2), np.float32)
with StoreWriter(Path(sys.argv[1]), ids, {"context": TapSpec(shape=(2048,))}, info) as writer:
    for start in range(0, len(ids), 64):
        rows = [Row(id=ids[i], progress=0.5, labels={"direction": "left"}, action=chunk, predicted=chunk)
                for i in order[start:start + 64]]
        writer.add(rows, {"context": rng.standard_normal((len(rows), 2048), np.float32)})
complete(Path(sys.argv[1]))
store = open_store(sys.argv[1], verify=True)
seen = sum(len(block) for _, block in store.vectors().blocks())
print(seen, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_stays_flat(tmp_path):
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path / "store"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows, grown_mib = done.stdout.split()
    assert rows == "18000"
    assert float(grown_mib) < 140, "the vectors alone are 141 MiB"
