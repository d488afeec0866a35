"""What may change stands at the field: the nearest field that says something holds for all below it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from mobile_vla.core.changes import Change, find_change, on_change


@dataclass(frozen=True, kw_only=True)
class Data:
    root: str = field(default="x", metadata=on_change(Change.NOTED))
    window: int = 8
    bounds: Mapping[str, float] = field(default_factory=dict, metadata=on_change(Change.MODEL))


@dataclass(frozen=True, kw_only=True)
class Settings:
    data: Data = field(default_factory=Data, metadata=on_change(Change.RUN))
    extra: Data | None = None
    lr: float = 1.0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data.root", Change.NOTED),
        ("data.window", Change.RUN),
        ("data.bounds.linear_x", Change.MODEL),
        ("data.gone", Change.RUN),
        ("extra.root", Change.NOTED),
        ("extra.window", Change.NOTED),
        ("extra.bounds", Change.MODEL),
        ("lr", Change.NOTED),
        ("gone.too", Change.NOTED),
    ],
)
def test_the_nearest_field_decides(name, change):
    assert find_change(Settings, name) is change
