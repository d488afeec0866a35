"""A stored configuration as a table of settings by dotted name, to be shown and compared."""

from collections.abc import Mapping
from typing import Any


def flatten(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted name, value) of every leaf; lists are leaves."""
    leaves: list[tuple[str, Any]] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            leaves += flatten(value, f"{name}.")
        elif value is not None:
            leaves.append((name, value))
    return leaves


def find_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Settings that differ -> what they were and are, in words."""
    then, here = dict(flatten(before)), dict(flatten(now))
    return {
        name: f"{name} {then.get(name)} -> {here.get(name)}"
        for name in sorted(then.keys() | here.keys())
        if then.get(name) != here.get(name)
    }
