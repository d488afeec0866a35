"""Bars stand on stderr while and after work is done; of work that failed only its error remains."""

import pytest

from mobile_vla.jobs.progress import show_progress, show_steps


def work(name):
    if name == "steps":
        with show_steps() as progress:
            progress("reading", 3, 4)
            yield
    else:
        with show_progress("reading") as progress:
            progress(3, 4)
            yield


@pytest.mark.parametrize("name", ["steps", "one"])
def test_what_was_done_is_shown_unless_it_failed(name, capsys):
    assert list(work(name)) == [None]
    shown = capsys.readouterr()
    assert "reading" in shown.err
    assert "3/4" in shown.err
    assert not shown.out
    failing = work(name)
    next(failing)
    with pytest.raises(ValueError, match="bad file"):
        failing.throw(ValueError("bad file"))
    assert not capsys.readouterr().err.strip()


def test_nothing_is_shown_where_no_step_was_taken_or_nobody_looks(capsys):
    with show_steps():
        pass
    with show_steps(enabled=False) as progress:
        progress("reading", 1, 2)
    assert not capsys.readouterr().err
