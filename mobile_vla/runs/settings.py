"""A stored configuration as a table of settings by dotted name, to be shown and compared."""

from collections.abc import Mapping
from typing import Any

from mobile_vla.core.members import name_members


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


def list_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name -> value; a configuration from before there was a choice of a member has the one that there was."""
    return dict(flatten(name_members(config)))


def find_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Settings that differ -> what they were and are, in words."""
    then, here = list_settings(before), list_settings(now)
    return {
        name: f"{name} {then.get(name)} -> {here.get(name)}"
        for name in sorted(then.keys() | here.keys())
        if then.get(name) != here.get(name)
    }
