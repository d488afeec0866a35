"""A fake command over a small folder of configuration files, run in this process in a temporary directory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Command, Context, Job, Report
from mobile_vla.jobs.launch import launch
from mobile_vla.jobs.outcome import find_outcome

CONF = {
    "train.yaml": """\
# @package _global_
defaults:
  - _self_
  - data: lab
  - model: big
  - trainer: default
  - experiment: null

out: null
name: null
run: null  # continue in this run's folder
config: null
seed: 0  # of everything random
checkpoint: best
text: plain
nothing: null
resolution: [720, 1280]
""",
    "data/lab.yaml": "root: episodes  # where the episodes lie\npattern: '*.h5'\ntable: {}\n",
    "data/elsewhere.yaml": "root: ???\npattern: '*.h5'\n",
    "model/big.yaml": "defaults:\n  - lora: text\n  - _self_\nname: big\nhidden: 8\n",
    "model/tiny.yaml": "defaults:\n  - lora: text\n  - _self_\nname: tiny\nhidden: 2\ntiny_only: 1\n",
    "model/lora/text.yaml": "rank: 4\nalpha: 8\n",
    "model/lora/none.yaml": "rank: 0\n",
    "trainer/default.yaml": "max_epochs: 5\ndevices: 1\nschedule:\n  warmup: 10\n  kind: cosine\n",
    "experiment/quick.yaml": "# @package _global_\nseed: 7\ntrainer:\n  max_epochs: 1\n",
    "plan/sparse.yaml": "stride: 2\n",
    "eval.yaml": "defaults:\n  - _self_\n  - plan: sparse\nout: null\nname: null\nrun: null\nsplit: validation\n",
    "unused/a.yaml": "x: 1\n",
    "must.yaml": "defaults:\n  - _self_\n  - model: ???\nout: null\nname: null\n",
}


@dataclass
class Bench:
    """Runs command lines and remembers what the command saw."""

    conf: Path
    prepared: list[tuple[dict[str, Any], Context]] = field(default_factory=list)
    ran: list[Path] = field(default_factory=list)
    job: Any = None  # what `run` does, where a test needs more than a report
    folder: Path | None = None  # Job.folder
    refuse_seed: int | None = None  # a seed that `prepare` finds wrong

    def command(self, name: str = "train") -> Command:
        def prepare(config: dict[str, Any], context: Context) -> Job:
            self.prepared.append((config, context))
            if self.refuse_seed is not None and config.get("seed") == self.refuse_seed:
                raise UserError(f"seed={self.refuse_seed} brings bad luck")
            return Job(run=run, folder=self.folder)

        def run(out: Path) -> Report:
            self.ran.append(out)
            if self.job is not None:
                return self.job(out)
            return Report(payload={"loss": 0.5}, table=[("loss", 0.5)])

        words = {"train": ("run", "config"), "eval": ("run",)}
        return Command(
            name=name,
            summary="Trains.",
            examples=(f"mobile-vla {name} seed=3",),
            prepare=prepare,
            saved=words.get(name, ()),
            several=name == "eval",
        )

    def run(self, *arguments: str, name: str = "train") -> int:
        return find_outcome(lambda: launch(self.command(name), arguments, self.conf))

    @property
    def config(self) -> dict[str, Any]:
        return self.prepared[-1][0]

    @property
    def context(self) -> Context:
        return self.prepared[-1][1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MOBILE_VLA_OUT", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    conf = tmp_path / "conf"
    for path, text in CONF.items():
        file = conf / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return Bench(conf=conf)


@pytest.fixture
def refused(bench: Bench, capsys: pytest.CaptureFixture[str]):
    """Runs a command line that must fail as a user's mistake; the one line of its message."""

    def run(*arguments: str, name: str = "train") -> str:
        assert bench.run(*arguments, name=name) == 2
        captured = capsys.readouterr()
        assert list(Path.cwd().iterdir()) == [], "nothing may be written"
        lines = captured.err.splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("mobile-vla: error: ")
        return lines[0].removeprefix("mobile-vla: error: ")

    return run
