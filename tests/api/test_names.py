"""`import mobile_vla` is light, and says what it offers."""

import subprocess
import sys

import pytest

import mobile_vla

HEAVY = ("torch", "numpy", "scipy", "sklearn", "pyarrow", "h5py", "hydra", "omegaconf", "lightning", "transformers")
LIGHT = f"""
import sys
import mobile_vla as mv
assert set(mv.__all__) <= set(dir(mv))
assert not {set(HEAVY)} & set(sys.modules), sorted(sys.modules)
mv.open_store, mv.judge, mv.compare
assert not {{"torch", "lightning", "transformers"}} & set(sys.modules), "stores need no torch"
"""


def test_importing_the_package_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_name_that_is_offered_is_there():
    for name in mobile_vla.__all__:
        assert getattr(mobile_vla, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'fly'; it offers compare, evaluate, judge, load"):
        getattr(mobile_vla, "fly")  # noqa: B009
