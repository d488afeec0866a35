"""Probes in real processes that die, and what they leave. Run as a process of its own, which has imported everything
once and forks each probe.

In: json with `what` (a function below) and its settings. Out: json on stdout.
"""

import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.parts import find_parts
from mobile_vla.contexts.reader import open_store
from mobile_vla.contexts.rows import list_ids
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core.errors import UserError
from tests.contexts.storing import INFO, TAPS, feed, plan, sums, vector_of

STEPS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "open"}


os.fsync = lambda descriptor: None  # it guards against a loss of power, which no process can stage, and takes long


def fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def probe(folder: Path, rank: int, world: int, seed: int | None, pause_s: float = 0.0) -> None:
    """This rank's share of the plan, in an order of its own; parts of a few rows."""
    ids = plan()
    with StoreWriter(folder, ids, TAPS, INFO, rank=rank, shard_rows=16, part_bytes=700) as writer:
        missing = set(writer.missing())
        share = [id for id in ids[rank::world] if id in missing]
        if seed is not None:
            random.Random(seed).shuffle(share)
        for start in range(0, len(share), 5):
            feed(writer, share[start : start + 5])
            time.sleep(pause_s)


def several(folder: str, world: int, seed: int | None) -> dict[str, str]:
    """A store by `world` processes at a time."""
    children = [fork(lambda rank=rank: probe(Path(folder), rank, world, seed)) for rank in range(world)]
    assert [wait(child) for child in children] == [0] * world
    assert wait(fork(lambda: complete(Path(folder)))) == 0
    return sums(Path(folder))


def look(folder: Path) -> None:
    """What a probe left opens cleanly, or says that it is incomplete; what is there is right."""
    try:
        store = open_store(folder, verify=True)
        assert len(store) == len(plan())
    except UserError as error:
        said = str(error)
        if "no manifest.json there" in said or "no such folder" in said:
            return
        store = open_store(folder, partial=True)
        if f"not complete: {len(store)} of {len(plan())} planned rows are there" not in said:
            raise
    ids = list_ids(store.rows)
    for tap, spec in TAPS.items():
        for id, vector in zip(ids, store.vectors(tap)[:], strict=True):
            assert np.array_equal(vector, vector_of(id, tap, spec)), (tap, id)


def die_at(step: int) -> None:
    """SIGKILL before the n-th change of the file system that this process makes."""
    count = 0

    def hook(event: str, details: tuple) -> None:
        nonlocal count
        writes = event in STEPS and (event != "open" or (isinstance(details[1], str) and "w" in details[1]))
        count += writes
        if writes and count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def every_step(folder: str, stride: int) -> dict[str, object]:
    """A probe that dies at each step that it takes, one store for each; each then continued undisturbed."""
    ends, left = [], []
    for step in range(1, 100_000, stride):
        place = Path(folder) / str(step)

        def whole(place: Path = place, step: int | None = step) -> None:
            if step is not None:
                die_at(step)
            probe(place, 0, 1, 7)
            complete(place)

        ends.append(wait(fork(whole)))
        assert wait(fork(lambda place=place: look(place))) == 0, step
        if ends[-1] == 0:
            break
        assert wait(fork(lambda place=place, whole=whole: whole(place, None))) == 0, step
        left.append(sums(place))
    return {"ends": ends, "left": left}


def random_kills(folder: str, kills: int, within_s: float) -> dict[str, object]:
    """SIGKILL at random moments, restart, until there were so many; stores that got complete meanwhile."""
    chance, killed, stores, attempts = random.Random(3), 0, [], 0
    while killed < kills or not stores:
        place = Path(folder) / str(len(stores))

        def whole(place: Path = place) -> None:
            probe(place, 0, 1, 5, pause_s=0.005)
            complete(place)

        child = fork(whole)
        if killed < kills:
            time.sleep(chance.uniform(0, within_s))
            os.kill(child, signal.SIGKILL)
        end = wait(child)
        attempts += 1
        killed += end == -signal.SIGKILL
        assert wait(fork(lambda place=place: look(place))) == 0
        if end == 0:
            stores.append(sums(place))
    return {"killed": killed, "attempts": attempts, "stores": stores}


def full_disk(folder: str, when: str) -> dict[str, object]:
    """From some moment on, files may hold no more than a few bytes: the system itself refuses the writing."""
    place = Path(folder)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))

    def begin() -> None:
        if when == "at the start":
            fill()
        with StoreWriter(place, plan(), TAPS, INFO, shard_rows=16, part_bytes=700) as writer:
            feed(writer, plan()[:50])
            while when == "on the way" and len(find_parts(place)) < 2:
                time.sleep(0.001)
            if when == "on the way":
                fill()
            feed(writer, plan()[50:])
        fill()
        complete(place)

    def limited() -> None:
        try:
            begin()
        except UserError as error:
            sys.stderr.write(f"{error}\n")
            return
        raise AssertionError("nothing was refused")

    error, reader = os.dup(2), os.pipe()
    os.dup2(reader[1], 2)
    end = wait(fork(limited))
    os.dup2(error, 2)
    os.close(reader[1])
    message = os.read(reader[0], 10_000).decode()
    assert wait(fork(lambda: look(place))) == 0
    before = sums(place / "parts")
    return {"end": end, "message": message, "before": before, "after": several(folder, 1, None)}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(globals()[asked.pop("what")](**asked)))
