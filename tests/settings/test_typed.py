"""Plain values become frozen dataclasses, or one line that names the setting."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.settings.typed import build


@dataclass(frozen=True, kw_only=True)
class Lora:
    rank: int = 4
    targets: tuple[str, ...] = ("q", "v")


@dataclass(frozen=True, kw_only=True)
class Model:
    hidden: int
    kind: Literal["tiny", "big"] = "tiny"
    lora: Lora | None = None
    resolution: tuple[int, int] = (720, 1280)
    rate: float = 0.1
    frozen: bool = True
    label: str = ""
    devices: int | list[int] = 1
    stages: tuple[Lora, ...] = ()
    by_name: dict[str, Lora] = field(default_factory=dict)
    root: Path | None = None

    def __post_init__(self):
        if self.hidden % 2:
            raise ValueError(f"hidden={self.hidden}: expected an even number")
        if self.hidden > 100:
            raise UserError(f"hidden={self.hidden} does not fit")


def test_nested_values_become_dataclasses():
    model = build(
        Model,
        {
            "hidden": 8,
            "lora": {"rank": 2, "targets": ["k"]},
            "resolution": [1, 2],
            "rate": 1,
            "devices": [0, 1],
            "stages": [{"rank": 1}],
            "by_name": {"a": {"rank": 3}},
            "root": "/a b",
        },
    )
    assert model == Model(
        hidden=8,
        lora=Lora(rank=2, targets=("k",)),
        resolution=(1, 2),
        rate=1.0,
        devices=[0, 1],
        stages=(Lora(rank=1),),
        by_name={"a": Lora(rank=3)},
        root=Path("/a b"),
    )
    assert isinstance(model.rate, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden": 3.5}, "model.hidden: expected a whole number, got 3.5"),
        ({"hidden": "3.5"}, "model.hidden: expected a whole number, got '3.5'"),
        ({"hidden": True}, "model.hidden: expected a whole number, got true"),
        ({"hidden": None}, "model.hidden: expected a whole number, got null"),
        ({}, "missing setting 'model.hidden': give model.hidden=<value>"),
        ({"hidden": 2, "hiden": 3}, "unknown setting 'model.hiden': did you mean 'model.hidden'?"),
        ({"hidden": 2, "lora": {"rnk": 3}}, "unknown setting 'model.lora.rnk': did you mean 'model.lora.rank'?"),
        ({"hidden": 2, "stages": [{"rnk": 3}]}, "unknown setting 'model.stages.0.rnk'"),
        ({"hidden": 2, "by_name": {"a": {"rnk": 3}}}, "unknown setting 'model.by_name.a.rnk'"),
        ({"hidden": 2, "lora": {"rank": "x"}}, "model.lora.rank: expected a whole number, got 'x'"),
        ({"hidden": 2, "lora": "text"}, "model.lora: expected settings by name, got 'text'"),
        (
            {"hidden": 2, "kind": "tinny"},
            "model.kind: expected one of 'tiny', 'big', got 'tinny': did you mean 'tiny'?",
        ),
        ({"hidden": 2, "resolution": [1, 2, 3]}, "model.resolution: expected 2 values, got [1, 2, 3]"),
        ({"hidden": 2, "resolution": [1]}, "model.resolution: expected 2 values, got [1]"),
        ({"hidden": 2, "resolution": 3}, "model.resolution: expected a list, got 3"),
        ({"hidden": 2, "devices": "x"}, "model.devices: expected a whole number or a list, got 'x'"),
        ({"hidden": 2, "label": 3}, "model.label: expected text, got 3"),
        ({"hidden": 2, "frozen": 1}, "model.frozen: expected true or false, got 1"),
        ({"hidden": 2, "rate": "1e-3x"}, "model.rate: expected a number, got '1e-3x'"),
        ({"hidden": 3}, "hidden=3: expected an even number"),
        ({"hidden": 102}, "hidden=102 does not fit"),
    ],
)
def test_a_wrong_value_is_one_line(values, message):
    with pytest.raises(UserError) as error:
        build(Model, values, "model")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@dataclass(frozen=True, kw_only=True)
class Plan:
    n: int

    def __post_init__(self):
        if self.n < 1:
            raise UserError(f"must be at least 1, got {self.n}", argument="n")
        if self.n > 9:
            raise UserError(f"n planning takes too long with {self.n}")


@dataclass(frozen=True, kw_only=True)
class Probe:
    plan: Plan


@dataclass(frozen=True, kw_only=True)
class Training:
    callbacks: dict[str, Probe]


@pytest.mark.parametrize(
    ("kind", "values", "key", "message"),
    [
        (Plan, {"n": 0}, "probe.plan", "probe.plan.n must be at least 1, got 0"),
        (Probe, {"plan": {"n": 0}}, "probe", "probe.plan.n must be at least 1, got 0"),
        (
            Training,
            {"callbacks": {"probe": {"plan": {"n": 0}}}},
            "",
            "callbacks.probe.plan.n must be at least 1, got 0",
        ),
        (Training, {"callbacks": {"probe": {"plan": {"n": 10}}}}, "", "n planning takes too long with 10"),
    ],
)
def test_settings_that_stand_elsewhere_are_told_in_full(kind, values, key, message):
    with pytest.raises(UserError) as error:
        build(kind, values, key)
    assert str(error.value) == message
