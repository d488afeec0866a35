"""Errors of the library get the words of the command line in one place: names, and how values are written."""

import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.words import tell

NAMES = {"taps": "probe.taps", "plan": "probe.plan"}


@pytest.mark.parametrize(
    ("error", "python", "typed"),
    [
        (
            UserError("there is no tap 'x'", argument="taps"),
            "taps: there is no tap 'x'",
            "probe.taps: there is no tap 'x'",
        ),
        (
            UserError("no label 'x'", argument="plan.by"),
            "plan.by: no label 'x'",
            "probe.plan.by: no label 'x'",
        ),
        (UserError("no such part", argument="planning"), "planning: no such part", "planning: no such part"),
        (
            UserError("there is no such folder", argument="left", value="a b"),
            "left='a b': there is no such folder",
            "left=a b: there is no such folder",
        ),
        (
            UserError("must be one of 2", argument="stores", value=("a", None, True)),
            "stores=('a', None, True) must be one of 2",
            "stores=[a,null,true] must be one of 2",
        ),
        (
            UserError("is a file", argument="run", value="x", where="run /b"),
            "run /b: run='x' is a file",
            "run /b: run=x is a file",
        ),
        (UserError("no room is left"), "no room is left", "no room is left"),
    ],
)
def test_an_error_in_python_and_on_the_command_line(error, python, typed):
    assert str(error) == python
    assert tell(error, NAMES) == typed


def test_settings_inside_settings_are_named_in_full():
    error = UserError("must be at least 1, got 0", argument="n")
    assert str(error.within("plan").within("callbacks.probe")) == "callbacks.probe.plan.n must be at least 1, got 0"
    assert str(UserError("broken").within("plan")) == "broken"
