"""`python -m benchmarks.gpu.wheels`: the packages that a bare machine with PyTorch lacks, as wheels in a folder.

In: the environment that this runs in, which has all of them in versions that work together; the Python of the other
machine; what is there already. Out: a wheel of each package that the project and its tests need, but for torch and what
only torch needs: torch itself, CUDA's packages and Triton are of the other machine.
"""

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
TORCH = "torch"
ONLY_SOURCE = ("antlr4-python3-runtime",)  # no wheel can be fetched; it is plain Python, so one that is made here fits
TESTS = ("pytest", "beartype", "hypothesis")  # what the tests that need a GPU import
PLATFORMS = (  # each by itself: pip does not know that a newer system takes what was made for an older one
    *(f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 26, 27, 28, 31, 34)),
    "manylinux2014_x86_64",
    "manylinux1_x86_64",
)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.wheels", description=__doc__)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--python", default=here, metavar="X.Y", help="of the other machine (%(default)s)")
    parser.add_argument("--there", default="", metavar="NAMES", help="packages that it has, separated by spaces")
    parser.add_argument("--out", type=Path, default=Path("wheels/gpu"), metavar="DIR", help="(%(default)s)")
    asked = parser.parse_args(words)
    pins = list_pins(read_needs(), asked.python, there=asked.there.split())
    asked.out.mkdir(parents=True, exist_ok=True)
    for wheel in asked.out.glob("*.whl"):
        wheel.unlink()  # two versions of one package cannot be installed
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    where = ["--python-version", asked.python, "--implementation", "cp", *platforms, "--dest", str(asked.out)]
    pip, quiet = [sys.executable, "-m", "pip"], ["--quiet", "--no-deps", "--disable-pip-version-check"]
    sources = [pin for pin in pins if pin.split("==")[0] in ONLY_SOURCE]
    fetched = [pin for pin in pins if pin not in sources]
    codes = [subprocess.run([*pip, "download", *quiet, "--only-binary=:all:", *where, *fetched]).returncode]
    if sources:
        codes.append(subprocess.run([*pip, "wheel", *quiet, "--wheel-dir", str(asked.out), *sources]).returncode)
    wheels = list(asked.out.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    print(f"{len(wheels)} wheels for Python {asked.python}, {size:.0f} MiB: {asked.out}")
    return max(codes)


def read_needs() -> list[str]:
    """What the project and the tests need directly."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tests = [need for need in project["optional-dependencies"]["dev"] if Requirement(need).name in TESTS]
    return [*project["dependencies"], *tests]


def list_pins(needs: Iterable[str], python: str, there: Iterable[str] = ()) -> list[str]:
    """`name==version`, as installed here, of all that is needed, directly or not.

    there  names of packages that the other machine has, and with them what they need themselves
    """
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    known = {canonicalize_name(name) for name in (TORCH, *there)}
    pins: dict[str, str] = {}
    todo = [(Requirement(need), {""}) for need in needs]
    while todo:
        need, extras = todo.pop()  # extras: of the package that needs it
        name = canonicalize_name(need.name)
        if name in known or not _is_needed(need, environment, extras):
            continue
        known.add(name)
        try:
            pins[name] = f"{need.name}=={version(need.name)}"
        except PackageNotFoundError:  # only another Python needs it
            pins[name] = f"{need.name}{need.specifier}"
            continue
        todo += [(Requirement(further), {"", *need.extras}) for further in requires(need.name) or ()]
    return [pins[name] for name in sorted(pins)]


def _is_needed(need: Requirement, environment: dict[str, str], extras: Iterable[str]) -> bool:
    """On the other machine."""
    return need.marker is None or any(need.marker.evaluate({**environment, "extra": extra}) for extra in extras)


if __name__ == "__main__":
    sys.exit(main())
