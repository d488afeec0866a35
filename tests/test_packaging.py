"""The wheel works where there is no checkout: console script, configuration and all."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ELSEWHERE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def build_wheel(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    named = shutil.ignore_patterns(".git", ".venv*", "build", "dist", "*.egg-info")
    shutil.copytree(
        ROOT, source, ignore=lambda folder, names: {*named(folder, names), *({"runs"} if folder == str(ROOT) else ())}
    )
    # No isolation: the build backend is here, and the test must not need a network.
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), source]
    subprocess.run(command, check=True, capture_output=True, env=ELSEWHERE)
    return next(tmp_path.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of console scripts of an environment that holds the wheel, and this one's libraries beside it."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    wheel = build_wheel(folder)
    venv.create(folder / "env", with_pip=True)
    scripts = folder / "env" / "bin"
    subprocess.run([scripts / "python", "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, env=ELSEWHERE)
    libraries = next((folder / "env" / "lib").glob("python*")) / "site-packages" / "here.pth"
    here = [path for path in sys.path if path.endswith("site-packages")]
    libraries.write_text("\n".join(here))
    return scripts


def run(script: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([script, *words], cwd=cwd, env=ELSEWHERE, capture_output=True, text=True)


def test_the_console_script_runs_outside_the_checkout(installed: Path, tmp_path: Path):
    where = "import mobile_vla; print(mobile_vla.__file__)"
    assert str(ROOT) not in run(installed / "python", "-c", where, cwd=tmp_path).stdout

    written = run(
        installed / "mobile-vla", "synth", "out=data", "episodes=2", "resolution=[18,32]", "workers=1", cwd=tmp_path
    )
    assert written.returncode == 0, written.stderr
    assert len(list((tmp_path / "data").glob("*.h5"))) == 2

    composed = run(installed / "mobile-vla", "train", "data.root=data", "experiment=demo", "--cfg", "job", cwd=tmp_path)
    assert composed.returncode == 0, composed.stderr
    assert "max_epochs" in composed.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
