"""From a command to its answer, and from `train` to the end of the first optimizer step, in fresh processes.

In: nothing. Out: seconds on the wall and of processor time, imports and Python's own start included, and what share of
the latter are import statements. `train` is the demo's tiny model over 40 synthetic episodes: once with frames that
were packed before, once with a folder for them that is new, so that reading, checking and packing are in it. It is left
at the end of the first step. The code of an earlier commit (`earlier.py`) does the same in the same rounds.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.earlier import BASELINE, CHECKOUT, check_out
from benchmarks.setting import RESOLUTION
from benchmarks.table import Line
from benchmarks.timing import CLOCKS, Spread, Stopwatch, Took, Variant, alternate
from mobile_vla.cli.registry import MODULES
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes

EPISODES = 40
ROUNDS = 10  # at most; the limit of seconds comes first
HELP, COMMAND_HELP, PACKED, FIRST_USE, EARLIER = (
    "--help",
    "a command's --help",
    "train, to the first step",
    "the same, first use",
    f"train at {BASELINE}, to the first step",
)
ASKED = {HELP: "< 1", COMMAND_HELP: "< 1", PACKED: "< 4"}  # seconds on the wall

# Nothing is imported before the command does: how it imports is part of what is measured. Statements within a module
# that is being imported belong to the outermost one.
TO_FIRST_STEP = """
import builtins, os, sys, time
plain, imports, within = builtins.__import__, 0.0, False
def leave(*_):
    print(imports / time.process_time(), flush=True)
    os._exit(0)
def timed(*names, **more):
    global imports, within
    if within:
        return plain(*names, **more)
    within, begun = True, time.process_time()
    try:
        return plain(*names, **more)
    finally:
        within, imports = False, imports + time.process_time() - begun
        if module := sys.modules.get("mobile_vla.training.module"):
            module.PolicyModule.on_train_batch_end = leave
builtins.__import__ = timed
from mobile_vla.cli.main import main
main(sys.argv[1:])
sys.exit("no step was taken")
"""


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """Trainings of `code` over the same episodes, each a process of its own; `import_shares`: of the packed ones."""

    folder: Path
    code: Path
    threads: int
    import_shares: list[float] = field(default_factory=list)

    def packed(self) -> Took:
        took, share = self._train(self.folder / f"packed by {self.code.name}")
        self.import_shares.append(share)
        return took

    def first_use(self) -> Took:
        return self._train(Path(tempfile.mkdtemp(dir=self.folder)))[0]

    def _train(self, packed: Path) -> tuple[Took, float]:
        """What it took, and the share of import statements in its processor time."""
        words = [
            "train",
            "experiment=demo",
            f"data.root={self.folder / 'episodes'}",
            f"data.pack_dir={packed}",
            f"out={tempfile.mkdtemp(dir=self.folder)}/run",
        ]
        took, said = _time(["-c", TO_FIRST_STEP, *words], self.threads, self.code)
        return took, float(said.splitlines()[-1])


def run(limit_s: float, threads: int) -> list[Line]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_episodes(SynthConfig(episodes=EPISODES, resolution=RESOLUTION, workers=1), folder / "episodes")
        now = Trainings(folder=folder, code=CHECKOUT, threads=threads)
        variants: dict[str, Variant] = {
            HELP: lambda: _time(["-m", "mobile_vla", "--help"], threads)[0],
            COMMAND_HELP: lambda: _mean([_time(["-m", "mobile_vla", name, "--help"], threads)[0] for name in MODULES]),
            PACKED: now.packed,
            FIRST_USE: now.first_use,
        }
        earlier = check_out(BASELINE, folder / BASELINE)
        trainings = {PACKED: now, EARLIER: Trainings(folder=folder, code=earlier, threads=threads)}
        variants[EARLIER] = trainings[EARLIER].packed
        timings = alternate(variants, rounds=ROUNDS, limit_s=limit_s, threads=threads)
    lines = [
        Line.of(timings, name, EARLIER if name == PACKED else None, clock) for clock in CLOCKS for name in variants
    ]
    lines = [replace(line, asked=ASKED.get(line.what)) if line.unit == "s wall" else line for line in lines]
    return lines + _shares_of_imports(trainings, timings.rounds)


def _shares_of_imports(trainings: Mapping[str, Trainings], rounds: int) -> list[Line]:
    """Of the rounds that count, which come last."""
    return [
        Line(
            what=f"{name}: imports",
            spread=Spread.of([100 * share for share in training.import_shares[-rounds:]]),
            unit="% of s cpu",
            rounds=rounds,
        )
        for name, training in trainings.items()
    ]


def _time(arguments: Sequence[str], threads: int, code: Path = CHECKOUT) -> tuple[Took, str]:
    """A Python of its own on the package in `code`, and its output; `RuntimeError` with what it said, if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(code)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the package is compiled once, as where it is installed
    watch = Stopwatch({**CLOCKS, "cpu": _time_of_children})
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=code)
    took = watch.stop()
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[-5:])}: {done.stderr.strip()[-500:]}")
    return took, done.stdout


def _time_of_children() -> float:
    """Seconds of processor time of all that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _mean(all_took: Sequence[Took]) -> Took:
    return Took(**{clock: sum(getattr(took, clock) for took in all_took) / len(all_took) for clock in CLOCKS})
