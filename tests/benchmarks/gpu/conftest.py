"""A bench with the tiny policy that all tests of benchmarks share."""

import pytest

from benchmarks.device import Cpu
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.size import SMALL


@pytest.fixture
def bench(setting, tmp_path, monkeypatch) -> Bench:
    """Whatever policy is asked for, there is this one."""
    monkeypatch.setattr(Bench, "setting", lambda *given, **named: setting)
    return Bench(size=SMALL, device=Cpu(), folder=tmp_path)
