"""The shape of the package: imports run one way, the wheel holds every package, libraries stay where they belong."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mobile_vla"
LEAVES = {
    "errors", "durable", "locking", "batch", "actions", "preprocessing", "augmentation", "plural", "moments",
    "levels", "dependence",
}  # fmt: skip
MAY_IMPORT = {  # who may import whom, besides the leaves
    "__init__": {"api", "contexts"},
    "api": {"cli", "training", "data", "models", "checkpoints", "contexts", "analysis"},
    "cli": {"training", "data", "models", "checkpoints", "contexts", "survey", "analysis", "doctor"},
    "training": {"data", "models", "contexts", "checkpoints", "analysis"},
    "checkpoints": {"models"},
    "contexts": set(),
    "analysis": {"contexts"},
    "data": set(),
    "models": set(),
    "survey": {"data"},
    "doctor": {"training", "models", "contexts", "checkpoints", "data"},
}
FOREIGN = {  # libraries that only these places know
    "hydra": {"cli"},
    "omegaconf": {"cli"},
    "lightning": {"training", "data", "api"},
    "pydantic": {"cli"},
    "tensorboard": {"training", "analysis"},
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
            allowed = LEAVES | MAY_IMPORT.get(here, {"errors", "cli"}) | {here}
            if here in LEAVES:
                allowed = {"errors", "levels"}
            assert there in allowed, f"{here} must not import {there}"
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
