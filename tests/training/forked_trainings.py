"""Trainings as processes that can be killed: forked from one that has imported everything and has a single thread.

`Trainings` is the test's side. The server's side reads a json line a request, from the same file run as a program:
`start` forks a training and answers its process id, `wait` answers how it ended.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

TRAINING, SAVING, VALIDATING = b"t", b"s", b"v"
MOMENTS = (  # of a save
    "while writing", "before the names change", "between the names", "before it is named best",
)  # fmt: skip


class Trainings:
    """Starts trainings in processes of their own, each leader of its own group."""

    def __init__(self, root: Path):
        self.root = root
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def start(self, out: Path, **asked: Any) -> "Attempt":
        """`asked`: what `run_training.main` takes; `dies` at one of MOMENTS, `dies_from_epoch`; `disk_nap_s`."""
        log = out.with_name(f"{out.name}.log")
        asked = {"root": str(self.root), "out": str(out), **asked}
        return Attempt(self._ask({"do": "start", "log": str(log), "asked": asked})["pid"], out, log, self._ask)

    def run(self, out: Path, **asked: Any) -> int:
        """Start, and wait; how it ended: the exit code, or minus the signal."""
        return self.start(out, **asked).wait()

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        pipe_in, pipe_out = self._server.stdin, self._server.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(json.dumps(request).encode() + b"\n")
        pipe_in.flush()
        return json.loads(pipe_out.readline())


@dataclass
class Attempt:
    """One training in a process; `log` is what it and all attempts before it in this folder have said."""

    pid: int
    out: Path
    log: Path
    ask: Callable[[dict[str, Any]], dict[str, Any]]

    def wait(self) -> int:
        return self.ask({"do": "wait", "pid": self.pid})["code"]

    def is_over(self) -> bool:
        return self.ask({"do": "is over", "pid": self.pid})["over"]

    def until(self, condition: Callable[[], object], patience_s: float = 60.0) -> bool:
        """Wait for the condition; False if the training ended before it."""
        given_up = time.monotonic() + patience_s
        while not condition():
            if self.is_over():
                return False
            assert time.monotonic() < given_up, f"waited for {patience_s} s: {self.said()}"
            time.sleep(0.003)
        return True

    def until_saved(self) -> bool:
        """Until there is another `last.ckpt` than now."""
        before = self._newest()
        return self.until(lambda: self._newest() not in (before, None))

    def send(self, number: int, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.pid, number)

    def said(self) -> str:
        return self.log.read_text()

    def phase(self) -> bytes:
        """What it was doing last."""
        file = self.out.with_name(f"{self.out.name}.phase")
        return file.read_bytes()[:1] if file.exists() else b""

    def _newest(self) -> int | None:
        last = self.out / "checkpoints" / "last.ckpt"
        try:
            return last.stat().st_mtime_ns
        except FileNotFoundError:
            return None


def serve(requests: IO[str], answers: IO[str]) -> None:
    from tests.training import run_training

    ended: dict[int, int] = {}

    def reap(pid: int, options: int) -> None:
        if pid not in ended:
            found, status = os.waitpid(pid, options)
            if found:
                ended[pid] = os.waitstatus_to_exitcode(status)

    for line in requests:
        request = json.loads(line)
        if request["do"] == "start":
            pid = os.fork()
            if pid == 0:
                be_training(run_training.main, request)
            answer: dict[str, Any] = {"pid": pid}
        else:
            waits = request["do"] == "wait"
            reap(request["pid"], 0 if waits else os.WNOHANG)
            answer = {"code": ended[request["pid"]]} if waits else {"over": request["pid"] in ended}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def be_training(main: Callable[[dict[str, Any]], int], request: dict[str, Any]) -> None:
    """What the fork does; it leaves as a program does, and does not come back."""
    os.setsid()
    with Path(request["log"]).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    asked = request["asked"]
    note_phases(Path(asked["out"]))
    if (moment := asked.pop("dies", None)) is not None:
        prepare_to_die(moment, asked.pop("dies_from_epoch", 0))
    slow_down_disk(asked.pop("disk_nap_s", 0.0))
    code = 1
    try:
        code = main(asked)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        import multiprocessing.util

        multiprocessing.util._exit_function()  # loader workers are waited for, as at the end of any program
        os._exit(code)


def note_phases(out: Path) -> None:
    """Whoever is killed leaves a file that says in the midst of what."""
    from mobile_vla.training.callbacks.checkpoint import RunCheckpoints
    from mobile_vla.training.module import PolicyModule

    file = os.open(out.with_name(f"{out.name}.phase"), os.O_CREAT | os.O_WRONLY)

    def note(owner: type, name: str, phase: bytes) -> None:
        own = getattr(owner, name)

        def noted(*args, **kwargs):
            os.pwrite(file, phase, 0)
            result = own(*args, **kwargs)
            os.pwrite(file, TRAINING if phase == SAVING else phase, 0)
            return result

        setattr(owner, name, noted)

    note(RunCheckpoints, "_save", SAVING)
    note(PolicyModule, "training_step", TRAINING)
    note(PolicyModule, "validation_step", VALIDATING)


def prepare_to_die(moment: str, epoch: int) -> None:
    """SIGKILL to itself at a moment of a save of `epoch` or later, but not of its first one."""
    import torch

    from mobile_vla.checkpoints import files
    from mobile_vla.training.callbacks import checkpoint

    saves, is_due = 0, False
    save, rotate, link = torch.save, checkpoint.rotate, os.link

    def save_half(content, file, *args, **settings):
        nonlocal saves, is_due
        saves += 1
        is_due = saves > 1 and content["position"]["epoch"] >= epoch
        save(content, file, *args, **settings)
        if is_due and moment == "while writing":
            os.truncate(file, os.path.getsize(file) // 2)
            die()

    def rotate_half(folder):
        if is_due and moment == "before the names change":
            die()
        if is_due and moment == "between the names":
            os.replace(folder / files.LAST, folder / files.PREVIOUS)
            die()
        rotate(folder)

    def do_not_link(*paths):
        if is_due and moment == "before it is named best":
            die()
        link(*paths)

    torch.save, checkpoint.rotate, os.link = save_half, rotate_half, do_not_link


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def slow_down_disk(nap_s: float) -> None:
    """A checkpoint is half written for a while, and files have neither of two names for a while."""
    if not nap_s:
        return
    import io

    import torch

    save, replace = torch.save, os.replace

    def slow_save(content, file, *args, **settings):
        stream = io.BytesIO()
        save(content, stream, *args, **settings)
        written = stream.getvalue()
        with Path(file).open("wb") as disk:
            disk.write(written[: len(written) // 2])
            disk.flush()
            time.sleep(nap_s)
            disk.write(written[len(written) // 2 :])

    def slow_replace(*paths):
        time.sleep(nap_s)
        replace(*paths)

    torch.save, os.replace = slow_save, slow_replace


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    serve(sys.stdin, answers)
