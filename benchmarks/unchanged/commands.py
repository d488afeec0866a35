"""The commands that are run with each code, small enough for one core, and what each one said.

In: a folder with the code, and an empty folder to work in. Out: that folder with everything that the commands wrote,
and `said.json`: exit codes and last lines, and all lines of the wrong command lines.

Every path is relative, the home folder lies in the working folder, and both codes work in the same place one after the
other: so the paths in what they write, and the hashes of paths, are equal.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.unchanged.foreign import write_lab_checkpoint

ACTING = Path(__file__).with_name("acting.py")
WRONG = "wrong"  # how the names of wrong command lines begin
KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")  # of the environment; the rest could change a result
SIZE = "resolution=[72,128] workers=1"
RIGOUR = "permutations=19 spikes=60"  # the fewest that are allowed
TAPS = "probe.taps=[context,pixels,text_layer_1,image_tokens:mean,head_state]"
VARIANTS = "probe.variants=[swap,paraphrase,donor]"
PROBE = f"probe run=run split=all probe.plan.episodes=24 probe.batch_size=44 {TAPS} {VARIANTS} probe.before=start"
LAB = "model.layout=robovlms model.preprocessing=clip data.components=[linear_x,linear_y] model.lora.alpha=16"

# Name -> words. Of a wrong command line all messages are compared. The training draws augmentations and trains all
# adapters; the other one draws dropout, reads JPEG files with three velocities, and caches what is frozen.
COMMANDS: Mapping[str, str] = {
    "synth": f"synth out=flat episodes=24 {SIZE}",
    "synth jpeg": f"synth out=jpeg episodes=9 layout=jpeg seed=5 noise=2.0 {SIZE}",
    "stats": "stats data.root=flat out=stats",
    "pack": "pack data.root=flat model=tiny out=pack",
    "train": "train model=tiny data=synthetic data.root=flat trainer=cpu seed=3 data.batch_size=22 augmentation=light "
    "optimization.lr=2e-3 trainer.max_epochs=2 callbacks=probe callbacks.probe.plan.episodes=6 out=run",
    "resume": "train run=run trainer.max_epochs=3",
    "train cached": "train model=tiny data.root=jpeg trainer=cpu model/lora=text model.lora.dropout=0.1 data.ends=drop "
    "data.components=[linear_x,linear_y,angular_z] data.bounds.angular_z=[-1,1] data.batch_size=9 "
    "cache.at=image_tokens trainer.max_epochs=1 out=cached",
    "eval": "eval run=run out=eval",
    "probe start": "probe run=run checkpoint=start split=all probe.plan.episodes=24 out=start",
    "probe": f"{PROBE} out=best",
    "compare": f"compare left=start right=best targets=[direction,boxes] {RIGOUR} out=compare",
    "export run": "export run=run merge=true out=export",
    "export store": "export store=best/contexts variant=own out=arrays",
    "import checkpoint": f"import path=lab.ckpt model=tiny trainer=cpu {LAB} out=imported",
    "import store": "import path=arrays out=imported_store",
    "doctor": "doctor run=run out=doctor",
    "inspect": "inspect path=run against=run/checkpoints/previous.ckpt out=inspect",
    "runs": "runs runs=. sort=name out=runs",
    "wrong key": "train modle=tiny data.root=flat out=wrong",
    "wrong folder": "stats data.root=nowhere out=wrong",
    "wrong choice": "synth layout=round out=wrong",
    "wrong store": "compare left=start/contexts right=flat out=wrong",
}
ACTED = ("acted", "flat", "best/contexts", "run", "export", "imported")
# What the code at hand does again in a copy of what the earlier code left; the earlier results are removed from it.
# Then the earlier run as it was after two epochs is continued.
CROSSED = ("eval", "probe", "compare")  # compare: a store of the earlier code's with one of the code at hand
REMADE = ("eval", "best", "compare", "acted", "run")  # folders that hold the results
STOPPED = "stopped"  # a copy of the run after two epochs


class Code:
    """A copy of the package, whose commands run as processes of their own, one thread each."""

    def __init__(self, folder: Path):
        self.folder = folder
        where = self._python("-c", "import mobile_vla; print(mobile_vla.__file__)", cwd=folder).stdout.strip()
        assert Path(where).is_relative_to(folder), f"{where} is imported, expected the package in {folder}"

    def _python(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {
            "PYTHONPATH": str(self.folder),
            "HOME": str(cwd / "home"),
            "MPLCONFIGDIR": str(self.folder / "matplotlib"),  # its list of fonts takes seconds to make
            "GIT_DIR": str(self.folder / "none"),  # neither code is in a repository
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "120",
        }
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=cwd)

    def run(self, commands: Mapping[str, str], work: Path) -> dict[str, dict[str, object]]:
        """All of them in `work`; what each said, and failures also on the terminal."""
        said: dict[str, dict[str, object]] = {}
        for name, words in commands.items():
            said[name] = self._say(name, ("-m", "mobile_vla", *words.split()), work)
            if name.startswith("synth"):
                _fix_times(work)
            if name == "train" and (work / "run").is_dir():
                shutil.copytree(work / "run", work / STOPPED)
        return said

    def act(self, work: Path) -> dict[str, object]:
        """The Python API on what the commands left."""
        return self._say("acting", (str(ACTING), *ACTED), work)

    def _say(self, name: str, words: tuple[str, ...], work: Path) -> dict[str, object]:
        begun = time.perf_counter()
        done = self._python(*words, cwd=work)
        print(f"  {name} ({time.perf_counter() - begun:.1f} s)", flush=True)
        said: dict[str, object] = {"exit": done.returncode, "last": done.stdout.splitlines()[-1:]}
        if name.startswith(WRONG):
            said |= {"stdout": done.stdout.splitlines(), "stderr": done.stderr.splitlines()}
        elif done.returncode:
            said["stderr"] = done.stderr.splitlines()
            print(f"    failed ({done.returncode}): {done.stderr.strip()[-2000:]}", flush=True)
        return said


def run_all(code: Code, work: Path) -> list[str]:
    """In `work`, a new folder. The commands that failed and should not have."""
    work.mkdir()
    write_lab_checkpoint(work / "lab.ckpt")
    said = code.run(COMMANDS, work)
    said["acting"] = code.act(work)
    _save(said, work)
    return [name for name, one in said.items() if one["exit"] and not name.startswith(WRONG)]


def run_crossed(code: Code, work: Path) -> None:
    """`work` is a copy of what the earlier code left, in the place where it was made."""
    for name in {*REMADE} - {"run"}:
        shutil.rmtree(work / name)
    said = code.run({name: COMMANDS[name] for name in CROSSED}, work)
    said["acting"] = code.act(work)
    shutil.rmtree(work / "run")
    (work / STOPPED).rename(work / "run")
    said |= code.run({"resume": COMMANDS["resume"]}, work)
    _save(said, work)


def _save(said: Mapping[str, object], folder: Path) -> None:
    (folder / "said.json").write_text(json.dumps(said, indent=1, ensure_ascii=False))


def _fix_times(work: Path) -> None:
    """Packed frames and examinations are named by the time of the file, too."""
    for file in work.glob("*/*.h5"):
        os.utime(file, (1_700_000_000, 1_700_000_000))


def describe() -> dict[str, object]:
    """What the results depend on beside the code."""
    scripts = (Path(__file__), ACTING, Path(__file__).with_name("foreign.py"))
    return {"python": sys.version, **{script.name: script.read_text() for script in scripts}}
