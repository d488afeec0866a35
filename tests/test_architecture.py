"""The shape of the package: imports run one way, the wheel holds every package, libraries stay where they belong."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mobile_vla"
MAY_IMPORT = {  # which rooms a room may import, besides itself and core
    "core": set(),
    "sources": set(),
    "data": {"sources"},
    "models": set(),
    "checkpoints": {"models"},
    "contexts": set(),
    "taps": {"contexts"},
    "analysis": {"contexts", "runs"},
    "runs": {"contexts"},
    "interventions": {"data", "sources", "models"},
    "display": {"data", "sources", "contexts", "taps", "analysis", "runs"},
    "probing": {"data", "sources", "models", "contexts", "taps", "display", "interventions", "analysis"},
    "evaluation": {"data", "sources", "models", "interventions", "probing", "display"},
    "training": {
        "data", "sources", "models", "checkpoints", "contexts", "taps", "display", "interventions", "probing",
        "evaluation", "runs",
    },
    "opening": {
        "data", "sources", "models", "checkpoints", "taps", "probing", "evaluation", "training", "runs", "display",
        "settings",
    },
    "survey": {"data", "sources"},
    "doctor": {"checkpoints", "opening", "training", "evaluation", "models", "taps", "data", "sources"},
    "settings": set(),
    "jobs": {"settings"},
    "api": {
        "jobs", "settings", "opening", "training", "data", "sources", "models", "contexts", "taps", "analysis",
        "doctor", "probing",
    },
    "cli": {
        "api", "jobs", "settings", "opening", "training", "probing", "display", "runs", "data", "sources",
        "models", "checkpoints", "contexts", "survey", "analysis", "doctor",
    },
    "__init__": {"api", "contexts"},
    "__main__": {"cli"},
}  # fmt: skip
FOREIGN = {  # libraries that only these places know
    "hydra": {"settings", "jobs"},
    "omegaconf": {"settings", "jobs"},
    "lightning": {"training", "data", "display", "opening", "api"},
    "h5py": {"sources"},
    "pydantic": {"settings", "core"},
    "tensorboard": {"display", "analysis"},
}


def imports(file: Path) -> set[str]:
    """Dotted names of the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide where things are"
            found.add(node.module or "")
    return found


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_run_one_way(file: Path):
    here = room(file)
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "mobile_vla" and len(parts) > 1:
            there = parts[1]
            assert there in MAY_IMPORT[here] | {here, "core"}, f"{here} must not import {there}"
        elif parts[0] in FOREIGN:
            assert here in FOREIGN[parts[0]], f"{here} must not know {parts[0]}"


def test_models_know_nothing_of_lightning():
    for file in (PACKAGE / "models").rglob("*.py"):
        assert not any(name.split(".")[0] in {"lightning", "hydra", "omegaconf"} for name in imports(file))


def test_lightning_has_one_name():
    assert not [file for file in FILES if any(name.startswith("pytorch_lightning") for name in imports(file))]


def test_the_wheel_lists_every_package():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in PACKAGE.rglob("__init__.py")}
    assert listed == there | {"mobile_vla.conf"}


def test_hydra_is_used_through_its_public_interface():
    """Its sweepers are handed the user's callbacks in a class that it calls private: one name, in one file."""
    private = {
        (str(file.relative_to(PACKAGE)), name)
        for file in FILES
        for name in imports(file)
        if name.split(".")[0] in ("hydra", "omegaconf") and any(part.startswith("_") for part in name.split("."))
    }
    assert len(private) <= 1, private
