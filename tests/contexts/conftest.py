"""Stores as a probe leaves them."""

import shutil
from pathlib import Path

import pytest

from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.core import durable
from tests.contexts.storing import make


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Bringing files to disk guards against a loss of power, which no test stages."""
    monkeypatch.setattr(durable, "_sync", lambda path: None)


@pytest.fixture(scope="session")
def untouched(tmp_path_factory) -> Path:
    """A complete store of 100 rows in shards of 16, to be read only."""
    folder = tmp_path_factory.mktemp("untouched") / "store"
    make(folder, shard_rows=16)
    return folder


@pytest.fixture
def folder(untouched: Path, tmp_path: Path) -> Path:
    """The same store, to be spoilt."""
    return shutil.copytree(untouched, tmp_path / "store")


@pytest.fixture
def store(untouched: Path) -> Store:
    return open_store(untouched)
