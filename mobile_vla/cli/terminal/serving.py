"""TensorBoard as a child process of this one: started, waited for until it answers, ended with this one.

In: its folder, a host and a port. Out: the address, while it runs. What it says goes into a log file.
"""

import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobile_vla.core.errors import Interrupted, UserError

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # hosts that stand for every address of this machine
SIGNALS = (signal.SIGINT, signal.SIGTERM)
START_S, END_S, ASK_S = 120.0, 10.0, 0.2


def write_command(folder: Path, host: str, port: int) -> list[str]:
    """This Python's own TensorBoard: nothing needs to be activated.

    Not the fast loader, which shuffles the runs: the first of them that declares columns of the HParams table decides,
    and the other loader always begins with the folder itself.
    """
    place = ["--logdir", str(folder), "--host", host, "--port", str(port)]
    return [sys.executable, "-m", "tensorboard.main", *place, "--load_fast", "false"]


def write_address(host: str, port: int) -> str:
    name = platform.node() if host in ANYWHERE else host
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def find_port(host: str, port: int) -> int:
    """The port, or with 0 a free one; `UserError` where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise UserError(
            f"host={host} port={port}: no such address ({error}); expected for example localhost"
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that has just ended does not count
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"cannot be had on {host} ({reason}); give another one, or port=0 for any that is free",
                argument="port",
                value=port,
            ) from error
        return probe.getsockname()[1]


def serve(command: list[str], host: str, port: int, log: Path, tell: Callable[[], None]) -> None:
    """Until SIGINT or SIGTERM comes, which is an `Interrupted`; `tell` is called when it answers.

    Also where this process was started in the background of a script, which has SIGINT ignored. `UserError` where
    TensorBoard ends by itself.
    """

    def leave(number: int, frame: Any) -> None:
        raise Interrupted("TensorBoard has ended", number)

    before = {number: signal.signal(number, leave) for number in SIGNALS}
    try:
        with log.open("w", encoding="utf-8") as said:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
            try:
                _wait_until_it_answers(child, host, port, log)
                tell()
                child.wait()
                raise _ended(child, log)
            finally:
                _end(child)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until_it_answers(child: subprocess.Popen, host: str, port: int, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if child.poll() is not None:
            raise _ended(child, log)
        try:
            socket.create_connection((ANYWHERE.get(host, host), port), timeout=1).close()
            return
        except OSError:
            time.sleep(ASK_S)
    raise UserError(f"TensorBoard does not answer at {host}:{port} after {START_S:.0f} s; {log} has what it said")


def _ended(child: subprocess.Popen, log: Path) -> UserError:
    said = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
    return UserError(f"TensorBoard ended by itself with exit code {child.returncode}: {last} (all of it: {log})")


def _end(child: subprocess.Popen) -> None:
    child.terminate()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
